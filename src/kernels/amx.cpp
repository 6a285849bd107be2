#include "kernels/amx.h"

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace headscope::kernels {

#if defined(__x86_64__)
namespace {

struct Leaf {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Leaf cpuid(unsigned leaf, unsigned part) {
  Leaf found;
  if (__get_cpuid_count(leaf, part, &found.eax, &found.ebx, &found.ecx, &found.edx) == 0) return {};
  return found;
}

constexpr bool bit(std::uint64_t word, int at) { return (word >> at & 1) != 0; }

// The register states that the system saves (XCR0).
std::uint64_t saved_states() {
  if (!bit(cpuid(1, 0).ecx, 27)) return 0;  // OSXSAVE
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return std::uint64_t{high} << 32 | low;
}

constexpr std::uint64_t kVectorStates = 0xE6;      // xmm, ymm, k, upper zmm, zmm16..31
constexpr std::uint64_t kTileStates = 3ULL << 17;  // tile configuration and data

bool all_saved(std::uint64_t states) { return (saved_states() & states) == states; }

bool find_avx512_bf16() {
  const unsigned features = cpuid(7, 0).ebx;
  const bool avx512 = bit(features, 16) && bit(features, 17) && bit(features, 30) &&
                      bit(features, 31);  // F, DQ, BW, VL
  return avx512 && bit(cpuid(7, 1).eax, 5) && all_saved(kVectorStates);
}

bool permitted_tiles() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

bool find_amx_bf16() {
  const unsigned features = cpuid(7, 0).edx;
  return bit(features, 22) && bit(features, 24) && all_saved(kTileStates) && permitted_tiles();
}

}  // namespace

bool has_avx512_bf16() {
  static const bool found = find_avx512_bf16();
  return found;
}

bool fast_avx512_bf16() {
  const Leaf maker = cpuid(0, 0);
  return has_avx512_bf16() && maker.ebx == signature_AMD_ebx && maker.ecx == signature_AMD_ecx;
}

bool has_amx_bf16() {
  static const bool found = has_avx512_bf16() && find_amx_bf16();
  return found;
}
#else
bool has_avx512_bf16() { return false; }
bool fast_avx512_bf16() { return false; }
bool has_amx_bf16() { return false; }
#endif

}  // namespace headscope::kernels
