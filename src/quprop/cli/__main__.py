from quprop_cli import main

main()
