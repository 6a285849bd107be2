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
enum class Activation : std::uint8_t { kGelu, kGeluTanh, kRelu, kSilu, kTanh };

/// The bodies of one instruction set. All of them are noexcept and serial: callers check shapes
/// before and cut the work into tasks.
struct Table {
  std::string_view name;                          ///< "scalar", "sse4", "avx2", "avx512", ...
  std::string_view what;                          ///< what is special about it, for `headscope cpu`
  void (*focus)(const FocusTask& task) noexcept;  ///< step 3 for some rows of one head
  std::size_t (*focus_scratch)(const FocusTask& task);  ///< floats of scratch that a task needs
  std::int64_t focus_rows;  ///< rows that one block of `focus` takes together
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
