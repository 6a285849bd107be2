#pragma once

#include <cstdint>
#include <span>

namespace headscope::train {

/// A matrix whose rows or columns are contiguous: one of the steps is 1.
struct Matrix {
  const float* data = nullptr;
  std::int64_t rows = 0, columns = 0;
  std::int64_t row_step = 0, column_step = 1;

  [[nodiscard]] Matrix turned() const { return {data, columns, rows, column_step, row_step}; }
};

/// Rows one behind the other, `step` numbers apart.
inline Matrix rows_at(const float* data,
                      std::int64_t rows,
                      std::int64_t columns,
                      std::int64_t step) {
  return {data, rows, columns, step, 1};
}

struct Term {
  Matrix a, b;
};

/// c = a_0 b_0 + a_1 b_1 + ..., or added to c.
struct Sum {
  std::span<const Term> terms;
  float* c = nullptr;
  std::int64_t step = 0;        ///< from one row of c to the next
  const float* bias = nullptr;  ///< added to each row; not with `add`
  bool add = false;
};

/// Matrix products that do not depend on each other, in one parallel region.
/// Cost    2*M*N*K flop a term.
/// Threads the same bits for any number of them: c is cut into tiles by shapes alone, and each tile is a product of
///         one thread (oneDNN).
/// Errors  kShape.
void multiply(std::span<const Sum> sums);

}  // namespace headscope::train
