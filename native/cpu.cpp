// Which instruction sets this processor (and its operating system) can run.
#include <nanobind/nanobind.h>

NB_MODULE(_cpu, m) {
  m.def("supports", [](const char* name) -> bool {
    const std::string_view s(name);
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (s == "avx512") return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
    if (s == "avx2") return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return s == "base";
  });
}
