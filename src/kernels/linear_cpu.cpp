// Which machines have int8 dot products of four numbers a lane.
#include "kernels/linear_bodies.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace headscope::kernels {

#if defined(__x86_64__)
bool has_avx512_vnni() {
  static const bool found =
      __builtin_cpu_supports("avx512vnni") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
      __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
  return found;
}

bool has_avx_vnni() {
  static const bool found = [] {
    unsigned eax = 0;
    unsigned ebx = 0;
    unsigned ecx = 0;
    unsigned edx = 0;
    if (__builtin_cpu_supports("avx2") == 0) return false;
    return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax >> 4 & 1) != 0;
  }();
  return found;
}
#else
bool has_avx512_vnni() { return false; }
bool has_avx_vnni() { return false; }
#endif

}  // namespace headscope::kernels
