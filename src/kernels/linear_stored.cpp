// Linear that reads its weight where a file holds it.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/isa.h"
#include "kernels/linear_body.h"
#include "tensor/quants.h"

namespace headscope::kernels {

namespace {

std::int64_t parts(std::int64_t n, std::int64_t each) { return (n + each - 1) / each; }

// 64-byte aligned memory of this thread, kept from task to task.
std::byte* scratch(std::size_t bytes) {
  thread_local Tensor memory;
  const auto wanted = static_cast<std::int64_t>(bytes);
  if (memory.size() < wanted) memory = Tensor(DType::kU8, {wanted});
  return memory.raw();
}

// Rows [m0, m0 + M) of x and rows [n0, n0 + N) of the weight.
struct Piece {
  std::int64_t m0, M, n0, N;
};

// Tasks of `columns` rows of the weight and `rows` of x.
struct Cut {
  std::int64_t columns, rows;

  [[nodiscard]] std::int64_t tasks(std::int64_t M, std::int64_t N) const {
    return parts(M, rows) * parts(N, columns);
  }
  [[nodiscard]] Piece piece(std::int64_t task, std::int64_t M, std::int64_t N) const {
    const std::int64_t across = parts(N, columns);
    const std::int64_t m0 = task / across * rows;
    const std::int64_t n0 = task % across * columns;
    return {m0, std::min(rows, M - m0), n0, std::min(columns, N - n0)};
  }
};

struct Stored : LinearBody {
  AnyView weight;
  std::size_t row_bytes = 0;

  [[nodiscard]] const std::byte* row(std::int64_t n) const {
    return weight.data + static_cast<std::size_t>(n) * row_bytes;
  }
  [[nodiscard]] const float* bias_at(std::int64_t n) const {
    return bias.empty() ? nullptr : bias.span<float>().data() + n;
  }
};

// Whole numbers: blocks of the file with x rounded to int8.
struct StoredInt8 final : Stored {
  static constexpr std::int64_t kFew = 3;  // rows of x for which laying out a panel does not pay

  [[nodiscard]] bool rounds() const override { return true; }

  [[nodiscard]] Cut cut(std::int64_t M) const {
    if (M > kFew) return {32, 256};
    constexpr std::int64_t kBytes = 24 << 10;  // microseconds of work, many times what a task costs
    const std::int64_t rows = kBytes / static_cast<std::int64_t>(row_bytes) / 8 * 8;
    return {std::max<std::int64_t>(8, rows), kFew};
  }

  [[nodiscard]] std::int64_t tasks(std::int64_t M) const override { return cut(M).tasks(M, N); }

  void run(std::int64_t task, const LinearInput& in, const View<float, 2>& y) override {
    const std::int64_t M = in.x.shape[0];
    const Piece p = cut(M).piece(task, M, N);
    const std::int64_t blocks = K / kInt8Block;
    Int8Task t;
    t.dtype = weight.dtype;
    t.weight = row(p.n0);
    t.row_bytes = row_bytes;
    t.N = p.N;
    t.M = p.M;
    t.K = K;
    t.x = {in.rounded.q + p.m0 * K,
           in.rounded.scale + p.m0 * blocks,
           in.rounded.sum + p.m0 * blocks,
           in.rounded.halves + p.m0 * blocks * 2};
    t.y = y.data + p.m0 * y.stride[0] + p.n0;
    t.y_stride = y.stride[0];
    t.bias = bias_at(p.n0);
    if (M <= kFew) return in.bodies->rows(t);
    t.scratch = scratch(in.bodies->panel_bytes(weight.dtype, K));
    in.bodies->panels(t);
  }
};

// f32: rows of the weight are widened, a few at a time, unless they are f32 already.
struct StoredFloats final : Stored {
  static constexpr Cut kCut{24, 512};

  [[nodiscard]] std::int64_t tasks(std::int64_t M) const override { return kCut.tasks(M, N); }

  [[nodiscard]] const float* widened(const Piece& p, const LinearBodies& bodies) const {
    const std::byte* from = row(p.n0);
    const bool aligned = reinterpret_cast<std::uintptr_t>(from) % alignof(float) == 0;
    if (weight.dtype == DType::kF32 && aligned) return reinterpret_cast<const float*>(from);
    const std::int64_t count = p.N * K;
    auto* to = reinterpret_cast<float*>(scratch(static_cast<std::size_t>(count) * sizeof(float)));
    if (weight.dtype == DType::kF32)
      std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
    else if (weight.dtype == DType::kF16 || weight.dtype == DType::kBF16)
      bodies.widen(weight.dtype, from, count, to);
    else
      quants::dequantise(weight.dtype, from, {to, static_cast<std::size_t>(count)});
    return to;
  }

  void run(std::int64_t task, const LinearInput& in, const View<float, 2>& y) override {
    const Piece p = kCut.piece(task, in.x.shape[0], N);
    DotTask t;
    t.weight = widened(p, *in.bodies);
    t.weight_stride = K;
    t.N = p.N;
    t.M = p.M;
    t.K = K;
    t.x = in.x.data + p.m0 * in.x.stride[0];
    t.x_stride = in.x.stride[0];
    t.y = y.data + p.m0 * y.stride[0] + p.n0;
    t.y_stride = y.stride[0];
    t.bias = bias_at(p.n0);
    in.bodies->dots(t);
  }
};

}  // namespace

std::unique_ptr<LinearBody> stored_linear(const AnyView& weight,
                                          Tensor bias,
                                          Linear::Compute compute) {
  const DType dtype = weight.dtype;
  if (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16 &&
      !is_quantised(dtype)) {
    throw Error(ErrorCode::kDType,
                fmt::format("[linear] expected a weight of f32, f16, bf16 or blocks, found {} {}",
                            name(dtype),
                            to_string(weight.shape)));
  }
  if (weight.data == nullptr) {
    throw Error(ErrorCode::kShape,
                "[linear] expected numbers for " + to_string(weight.shape) + ", found none");
  }
  std::unique_ptr<Stored> body;
  if (compute == Linear::Compute::kFast && has_int8(dtype))
    body = std::make_unique<StoredInt8>();
  else
    body = std::make_unique<StoredFloats>();
  body->N = weight.shape[0];
  body->K = weight.shape[1];
  body->bias = std::move(bias);
  body->weight = weight;
  body->row_bytes = bytes_of(dtype, body->K);
  (void)weight.bytes();  // a weight whose bytes overflow is refused here
  return body;
}

}  // namespace headscope::kernels
