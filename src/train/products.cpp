#include "train/products.h"

#include <fmt/format.h>
#include <oneapi/dnnl/dnnl.h>

#include <algorithm>
#include <vector>

#include "headscope/tensor.h"
#include "headscope/threads.h"
#include "kernels/one_thread.h"

namespace headscope::train {

namespace {

// Tiles of one result.
struct Cut {
  std::int64_t M = 0, N = 0;
  std::int64_t tall = 0, wide = 0;
  std::int64_t down = 0, across = 0;

  [[nodiscard]] Tile tile(std::int64_t task) const {
    const std::int64_t row = task / across * tall;
    const std::int64_t column = task % across * wide;
    return {row, std::min(tall, M - row), column, std::min(wide, N - column)};
  }
};

// Large tiles read little twice; at least kTasks of them keep many cores busy, unless they get too small.
Cut cut(std::int64_t M, std::int64_t N) {
  constexpr std::int64_t kTasks = 16;
  Cut c{M, N, 256, 384, 0, 0};
  for (;;) {
    c.down = (M + c.tall - 1) / c.tall;
    c.across = (N + c.wide - 1) / c.wide;
    if (c.down * c.across >= kTasks || (c.tall <= 64 && c.wide <= 96)) return c;
    const bool rows = c.tall > 64 && (c.wide <= 96 || 3 * c.tall > 2 * c.wide);
    (rows ? c.tall : c.wide) /= 2;
  }
}

void check(const Sum& sum) {
  const Matrix& a = sum.terms.front().a;
  const Matrix& b = sum.terms.front().b;
  for (const Term& t : sum.terms) {
    const bool steps =
        (t.a.row_step == 1 || t.a.column_step == 1) && (t.b.row_step == 1 || t.b.column_step == 1);
    if (t.a.rows == a.rows && t.b.columns == b.columns && t.a.columns == t.b.rows && steps)
      continue;
    throw Error(ErrorCode::kShape,
                fmt::format("[train] expected a product [{},K] x [K,{}], found [{},{}] x [{},{}]",
                            a.rows,
                            b.columns,
                            t.a.rows,
                            t.a.columns,
                            t.b.rows,
                            t.b.columns));
  }
}

std::int64_t lead(const Matrix& m, bool turned) {
  return std::max<std::int64_t>(turned ? m.column_step : m.row_step, turned ? m.rows : m.columns);
}

// Rows [row, row + rows) of a turned matrix, which are its columns in memory, close together. oneDNN reads them where
// they lie: at steps of 3072 numbers they fall on the same lines of the cache, at half the speed.
Matrix close_together(const Matrix& a, std::int64_t row, std::int64_t rows) {
  constexpr std::int64_t kApart = 16;  // so that no step is a power of two
  thread_local Tensor scratch;
  const std::int64_t step = rows + kApart;
  if (scratch.size() < a.columns * step) scratch = Tensor(DType::kF32, {a.columns * step});
  float* to = scratch.span<float>().data();
  for (std::int64_t k = 0; k < a.columns; ++k)
    std::copy_n(a.data + row + k * a.column_step, rows, to + k * step);
  return {to, rows, a.columns, 1, step};
}

void multiply_part(const Term& t, const Part& part, std::int64_t step) {
  const auto [row, rows, column, columns] = part.tile;
  const bool a_turned = t.a.column_step != 1;
  const bool b_turned = t.b.column_step != 1;
  Matrix a = t.a;
  a.data += row * a.row_step;
  if (a_turned) a = close_together(t.a, row, rows);
  const dnnl_status_t status = dnnl_sgemm(a_turned ? 'T' : 'N',
                                          b_turned ? 'T' : 'N',
                                          rows,
                                          columns,
                                          a.columns,
                                          1.0F,
                                          a.data,
                                          lead(a, a_turned),
                                          t.b.data + column * t.b.column_step,
                                          lead(t.b, b_turned),
                                          part.add ? 1.0F : 0.0F,
                                          part.c,
                                          step);
  if (status == dnnl_success) return;
  throw Error(status == dnnl_out_of_memory ? ErrorCode::kResources : ErrorCode::kInternal,
              fmt::format("[train] oneDNN: a product failed with status {}", int{status}));
}

}  // namespace

void for_each_part(std::span<const Sum> sums, const std::function<void(const Part&)>& body) {
  std::vector<Cut> cuts;
  std::vector<std::int64_t> first{0};
  for (const Sum& sum : sums) {
    cuts.push_back(cut(sum.terms.front().a.rows, sum.terms.front().b.columns));
    first.push_back(first.back() + cuts.back().down * cuts.back().across);
  }
  parallel_for(first.back(), [&](std::int64_t task) {
    std::size_t n = 0;
    while (task >= first[n + 1]) ++n;
    const Sum& sum = sums[n];
    const Tile tile = cuts[n].tile(task - first[n]);
    float* c = sum.c + tile.row * sum.step + tile.column;
    bool add = sum.add;
    if (sum.bias != nullptr && !add) {
      for (std::int64_t i = 0; i < tile.rows; ++i)
        std::copy_n(sum.bias + tile.column, tile.columns, c + i * sum.step);
      add = true;
    }
    const kernels::OneThread one;
    for (std::size_t term = 0; term < sum.terms.size(); ++term) {
      body({n, term, tile, c, add});
      add = true;
    }
  });
}

void multiply(std::span<const Sum> sums, DType dtype) {
  for (const Sum& sum : sums) check(sum);
  if (dtype == DType::kBF16) return multiply_bf16(sums);
  for_each_part(sums, [&](const Part& part) {
    const Sum& sum = sums[part.sum];
    multiply_part(sum.terms[part.term], part, sum.step);
  });
}

}  // namespace headscope::train
