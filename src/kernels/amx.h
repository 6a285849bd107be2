#pragma once

namespace headscope::kernels {

/// True when this machine and its system run AVX-512 with bf16 dot products (vdpbf16ps).
/// Source: Intel 64 and IA-32 manual, vol. 2, CPUID; vol. 1, 15.2 (detection of AVX-512).
bool has_avx512_bf16();

/// True where one vdpbf16ps takes the time of one f32 FMA: on AMD's processors. Intel's take twice as
/// long, so that f32 is no slower there.
bool fast_avx512_bf16();

/// True when this process may use tiles of bf16 (AMX): the processor has them beside AVX-512-BF16
/// (P is rounded with it), the system saves them, and has given its permission. Linux is asked for
/// it on the first call, once for all threads; other systems: false.
/// Source: Linux, Documentation/arch/x86/xstate.rst.
bool has_amx_bf16();

}  // namespace headscope::kernels
