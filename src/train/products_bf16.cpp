// Products whose factors are rounded to bf16, by oneDNN where the processor multiplies bf16, by its f32 products of the
// rounded numbers elsewhere.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "headscope/tensor.h"
#include "headscope/threads.h"
#include "kernels/amx.h"
#include "train/products.h"

namespace headscope::train {

namespace {

using dnnl::memory;

// To nearest, ties to even; infinities and NaN stay what they are.
std::uint32_t rounded(float x) {
  std::uint32_t bits = 0;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  const std::uint32_t up = bits + 0x7FFFU + ((bits >> 16) & 1U);
  const bool finite = (bits & 0x7F800000U) != 0x7F800000U;
  const std::uint32_t other = (bits & 0x007FFFFFU) != 0 ? bits | 0x00400000U : bits;
  return (finite ? up : other) & 0xFFFF0000U;
}
void store(float x, bf16* to) { to->bits = static_cast<std::uint16_t>(rounded(x) >> 16); }
void store(float x, float* to) {
  const std::uint32_t bits = rounded(x);
  __builtin_memcpy(to, &bits, sizeof(bits));
}

// Rows [row, row + rows) of [rows, columns] as rows of their own.
template <typename T>
void round_rows(const Matrix& m, std::int64_t row, std::int64_t rows, T* to) {
  to += row * m.columns;
  if (m.column_step == 1) {
    for (std::int64_t i = row; i < row + rows; ++i, to += m.columns) {
      const float* from = m.data + i * m.row_step;
      for (std::int64_t k = 0; k < m.columns; ++k) store(from[k], to + k);
    }
    return;
  }
  // Turned, a square at a time, so that both sides stay near.
  constexpr std::int64_t kSide = 32;
  for (std::int64_t k = 0; k < m.columns; k += kSide) {
    for (std::int64_t i = 0; i < rows; ++i) {
      const float* from = m.data + (row + i) + k * m.column_step;
      for (std::int64_t n = 0; n < std::min(kSide, m.columns - k); ++n)
        store(from[n * m.column_step], to + i * m.columns + k + n);
    }
  }
}

// Matrices rounded once for all products of a call. Buffers stay from call to call.
template <typename T>
class Rounded {
 public:
  // The matrix as rows side by side, filled by round().
  const T* of(const Matrix& m) {
    const Key key{m.data, m.rows, m.columns, m.row_step, m.column_step};
    const auto found = made_.find(key);
    if (found != made_.end()) return found->second;
    if (buffers_.size() == wanted_.size()) buffers_.emplace_back();
    Tensor& buffer = buffers_[wanted_.size()];
    const auto bytes = m.rows * m.columns * static_cast<std::int64_t>(sizeof(T));
    if (buffer.size() < bytes) buffer = Tensor(DType::kU8, {bytes});
    T* to = reinterpret_cast<T*>(buffer.raw());
    wanted_.push_back({m, to});
    made_.emplace(key, to);
    return to;
  }

  void round() const {
    std::vector<std::int64_t> first{0};
    for (const auto& [m, to] : wanted_)
      first.push_back(first.back() + (m.rows + kRows - 1) / kRows);
    parallel_for(first.back(), [&](std::int64_t task) {
      std::size_t n = 0;
      while (task >= first[n + 1]) ++n;
      const Matrix& m = wanted_[n].first;
      const std::int64_t row = (task - first[n]) * kRows;
      round_rows(m, row, std::min(kRows, m.rows - row), wanted_[n].second);
    });
  }

  void forget() {
    wanted_.clear();
    made_.clear();
  }

 private:
  using Key = std::tuple<const float*, std::int64_t, std::int64_t, std::int64_t, std::int64_t>;
  static constexpr std::int64_t kRows = 32;

  std::vector<Tensor> buffers_;
  std::vector<std::pair<Matrix, T*>> wanted_;
  std::map<Key, const T*> made_;
};

// B is read along its contiguous axis: as it is or turned, never moved.
Matrix contiguous(const Matrix& b) { return b.column_step == 1 ? b : b.turned(); }

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

struct Product {
  dnnl::matmul primitive;
  memory::desc a, b, c, scratchpad;
};

// c [M,N] (+)= a [M,K] b, b [K,N] or [N,K] turned.
struct Shape3 {
  std::int64_t M, N, K, b_step, c_step;
  bool b_turned, add;
  friend auto operator<=>(const Shape3&, const Shape3&) = default;
};

// A copy of handles: another thread may make room in the table.
Product product_of(const Shape3& s) {
  static std::mutex mutex;
  static std::map<Shape3, Product> all;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = all.find(s);
  if (found != all.end()) return found->second;
  constexpr std::size_t kMost = 512;  // packed batches come in many lengths
  if (all.size() >= kMost) all.clear();
  const memory::desc a({s.M, s.K}, memory::data_type::bf16, memory::dims{s.K, 1});
  const memory::desc b({s.K, s.N},
                       memory::data_type::bf16,
                       s.b_turned ? memory::dims{1, s.b_step} : memory::dims{s.b_step, 1});
  const memory::desc c({s.M, s.N}, memory::data_type::f32, memory::dims{s.c_step, 1});
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (s.add) {
    dnnl::post_ops after;
    after.append_sum(1.0F);
    attr.set_post_ops(after);
  }
  const dnnl::matmul::primitive_desc chosen(dnnl::matmul::desc(a, b, c), attr, engine());
  return all.emplace(s, Product{dnnl::matmul(chosen), a, b, c, chosen.scratchpad_desc()})
      .first->second;
}

// A tile of one term, by the calling thread alone.
void multiply_tile(const Product& p, const bf16* a, const bf16* b, float* c) {
  thread_local dnnl::stream stream(engine());
  thread_local Tensor scratch;
  const auto bytes = static_cast<std::int64_t>(p.scratchpad.get_size());
  if (scratch.size() < bytes) scratch = Tensor(DType::kU8, {bytes});
  std::unordered_map<int, memory> args{
      {DNNL_ARG_SRC, memory(p.a, engine(), const_cast<bf16*>(a))},
      {DNNL_ARG_WEIGHTS, memory(p.b, engine(), const_cast<bf16*>(b))},
      {DNNL_ARG_DST, memory(p.c, engine(), c)}};
  if (bytes > 0) args.emplace(DNNL_ARG_SCRATCHPAD, memory(p.scratchpad, engine(), scratch.raw()));
  p.primitive.execute(stream, args);
  stream.wait();
}

struct Factors {
  const bf16* a;
  const bf16* b;
  std::int64_t K, b_step;
  bool b_turned;
};

void by_bf16(std::span<const Sum> sums) {
  static thread_local Rounded<bf16> rounded;
  rounded.forget();
  std::vector<std::vector<Factors>> factors;
  for (const Sum& sum : sums) {
    std::vector<Factors>& of = factors.emplace_back();
    for (const Term& t : sum.terms) {
      const Matrix b = contiguous(t.b);
      of.push_back({rounded.of(t.a), rounded.of(b), t.a.columns, b.columns, t.b.column_step != 1});
    }
  }
  rounded.round();
  try {
    for_each_part(sums, [&](const Part& part) {
      const Factors& f = factors[part.sum][part.term];
      const Tile& t = part.tile;
      const std::int64_t step = sums[part.sum].step;
      multiply_tile(product_of({t.rows, t.columns, f.K, f.b_step, step, f.b_turned, part.add}),
                    f.a + t.row * f.K,
                    f.b + (f.b_turned ? t.column * f.b_step : t.column),
                    part.c);
    });
  } catch (const dnnl::error& e) {
    throw Error(e.status == dnnl_out_of_memory ? ErrorCode::kResources : ErrorCode::kInternal,
                fmt::format("[train] oneDNN: a product of bf16 failed: {}", e.what()));
  }
}

void by_rounded_f32(std::span<const Sum> sums) {
  static thread_local Rounded<float> rounded;
  rounded.forget();
  std::vector<std::vector<Term>> terms;
  std::vector<Sum> same(sums.begin(), sums.end());
  for (Sum& sum : same) {
    std::vector<Term>& of = terms.emplace_back();
    for (const Term& t : sum.terms) {
      const Matrix b = contiguous(t.b);
      const Matrix rows = rows_at(rounded.of(b), b.rows, b.columns, b.columns);
      of.push_back({rows_at(rounded.of(t.a), t.a.rows, t.a.columns, t.a.columns),
                    t.b.column_step == 1 ? rows : rows.turned()});
    }
    sum.terms = of;
  }
  rounded.round();
  multiply(same);
}

}  // namespace

void multiply_bf16(std::span<const Sum> sums) {
  const bool none = std::any_of(sums.begin(), sums.end(), [](const Sum& sum) {
    return std::any_of(
        sum.terms.begin(), sum.terms.end(), [](const Term& t) { return t.a.columns == 0; });
  });
  // Without tiles Intel's processors multiply bf16 at half the rate of f32; sums of nothing are none of oneDNN's.
  if (!none && (kernels::has_amx_bf16() || kernels::fast_avx512_bf16()))
    by_bf16(sums);
  else
    by_rounded_f32(sums);
}

}  // namespace headscope::train
