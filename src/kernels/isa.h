#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/focus_task.h"

namespace headscope::kernels {

/// Functions that act on single numbers.
enum class Activation : std::uint8_t {
  kGelu,
  kGeluTanh,
  kGeluQuick,
  kRelu,
  kReluSquared,
  kSilu,
  kTanh
};

/// How one instruction set does step 3: sums run over keys, rows are taken in blocks. All serial and
/// noexcept.
struct FocusBody {
  std::int64_t rows = 1;  ///< rows that one block takes together
  void (*focus)(const FocusTask& task) noexcept = nullptr;
  std::size_t (*scratch)(const FocusTask& task) = nullptr;  ///< bytes of scratch that a task needs
  /// A task whose keys are split leaves its sums in `state_bytes` bytes; `join` puts n of them, `step` bytes
  /// apart in the order of their keys, into out, lse and statistics, and `maps` of every part follows.
  std::size_t (*state_bytes)(const FocusTask& task) = nullptr;
  void (*join)(const FocusTask& task,
               const std::byte* states,
               std::size_t step,
               std::int64_t n) noexcept = nullptr;
  void (*maps)(const FocusTask& task) noexcept = nullptr;
  /// Keys and values as the body wants them, laid out once a head for all rows: bytes, and the copying of
  /// keys [begin, end), begin a multiple of 64. Without `must_pack` it reads f32 rows as they come, too.
  bool must_pack = false;
  std::size_t (*packed_bytes)(std::int64_t keys, std::int64_t width, bool values) = nullptr;
  void (*pack)(const FocusTask& task,
               bool values,
               std::int64_t begin,
               std::int64_t end,
               std::byte* to) noexcept = nullptr;
};

/// The bodies of one instruction set. All of them are noexcept and serial: callers check shapes
/// before and cut the work into tasks.
struct Table {
  std::string_view name;  ///< "scalar", "sse4", "avx2", "avx512", ...
  std::string_view what;  ///< what is special about it, for `headscope cpu`
  FocusBody f32;          ///< step 3
  FocusBody bf16;
  FocusBody
      few_f32;  ///< step 3 for at most `rows` rows in all: reads keys and values where they lie
  FocusBody few_bf16;
  void (*activate)(Activation kind, float* x, std::int64_t n) noexcept;
  /// y = (x - mean) / sqrt(var + eps) * weight + bias over one row; weight, bias may be nullptr.
  void (*layer_norm)(const float* x,
                     const float* weight,
                     const float* bias,
                     float eps,
                     std::int64_t n,
                     float* y) noexcept;
  double (*fma_peak)(
      std::int64_t rounds) noexcept;  ///< flop done by independent FMAs, for bench/limits
};

/// The tables that this machine can run, slowest first; "scalar" is always there.
std::span<const Table* const> tables();

/// The table in use: the fastest, or the one that HEADSCOPE_ISA names.
/// Errors: kUsage when HEADSCOPE_ISA names a set that this machine or build does not have.
const Table& table();

/// Makes `name` the table in use ("" or "auto": the fastest). Errors: kUsage. For tests and
/// benches.
void use(std::string_view name);

/// What `headscope cpu` prints.
struct Isa {
  std::string name;
  bool available = false;
  bool chosen = false;
  std::string why;
};
std::vector<Isa> list();

/// The plain table: double precision, row by row.
const Table& scalar_table();

}  // namespace headscope::kernels
