from quprop.cli import main

main()
