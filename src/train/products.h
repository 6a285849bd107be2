#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "headscope/tensor.h"

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

/// Part of a result.
struct Tile {
  std::int64_t row, rows, column, columns;
};

/// Matrix products that do not depend on each other, in one parallel region. With kBF16 factors are rounded to bf16
/// (sums stay f32): faster with AMX or AMD's AVX-512-BF16, slower elsewhere.
/// Cost    2*M*N*K flop a term; with kBF16 a rounded copy of every factor, in memory that is kept.
/// Threads the same bits for any number of them: c is cut into tiles by shapes alone, and each tile is a product of
///         one thread (oneDNN).
/// Errors  kShape.
void multiply(std::span<const Sum> sums, DType dtype = DType::kF32);

/// multiply with kBF16, of sums whose shapes fit.
void multiply_bf16(std::span<const Sum> sums);

/// One term of one sum over one tile of its result.
struct Part {
  std::size_t sum, term;
  Tile tile;
  float* c;  ///< where the tile begins
  bool add;  ///< to what c holds
};

/// All parts of all sums, biases in c before them: tiles in one parallel region, the terms of each in order, each by
/// one thread of oneDNN. Tiles depend on shapes alone.
void for_each_part(std::span<const Sum> sums, const std::function<void(const Part&)>& body);

}  // namespace headscope::train
