#include "headscope/linear.h"

#include <fmt/format.h>

#include <numeric>
#include <vector>

#include "headscope/threads.h"
#include "kernels/isa.h"
#include "kernels/linear_body.h"

namespace headscope {

namespace {

void expect_matrix(const AnyView& weight) {
  if (weight.shape.size() != 2) {
    throw Error(ErrorCode::kShape,
                "[linear] expected a weight with 2 axes, found " + to_string(weight.shape));
  }
  if (weight.shape[0] == 0 || weight.shape[1] == 0) {
    throw Error(ErrorCode::kShape,
                "[linear] expected a weight with numbers, found " + to_string(weight.shape));
  }
}

// [N,K] or [K,N] of any float dtype as [N,K] f32.
Tensor widen(const AnyView& weight, Linear::Layout layout) {
  Tensor w = Tensor::f32_from(weight);
  if (layout == Linear::Layout::kOutIn) return w;
  const std::int64_t K = weight.shape[0];
  const std::int64_t N = weight.shape[1];
  Tensor turned(DType::kF32, {N, K});
  const auto from = w.view<float, 2>();
  const auto to = turned.view<float, 2>();
  for (std::int64_t n = 0; n < N; ++n) {
    for (std::int64_t k = 0; k < K; ++k) to(n, k) = from(k, n);
  }
  return turned;
}

Tensor bias_of(const AnyView& bias, std::int64_t N) {
  if (bias.data == nullptr) return {};
  if (bias.shape != Shape{N}) {
    throw Error(ErrorCode::kShape,
                fmt::format("[linear] expected a bias [{}], found {}", N, to_string(bias.shape)));
  }
  return Tensor::f32_from(bias);
}

void check(const View<const float, 2>& x, const View<float, 2>& y, std::int64_t K, std::int64_t N) {
  const std::int64_t M = x.shape[0];
  if (x.shape[1] != K || y.shape != std::array{M, N} || x.stride[1] != 1 || y.stride[1] != 1) {
    throw Error(ErrorCode::kShape,
                fmt::format("[linear] expected x [{},{}] and y [{},{}], found {} and {}",
                            M,
                            K,
                            M,
                            N,
                            to_string(x.shape),
                            to_string(y.shape)));
  }
}

// Rows of x rounded to int8: made once for all products that want them.
class Rounded {
 public:
  Rounded(const View<const float, 2>& x, const kernels::LinearBodies& bodies) {
    const std::int64_t M = x.shape[0];
    const std::int64_t K = x.shape[1];
    const std::int64_t blocks = K / kernels::kInt8Block;
    grow(q_, DType::kI8, M * K);
    grow(scale_, DType::kF32, M * blocks);
    grow(sum_, DType::kF32, M * blocks);
    grow(halves_, DType::kI32, M * blocks * 2);
    auto* q = q_.span<std::int8_t>().data();
    auto* scale = scale_.span<float>().data();
    auto* sum = sum_.span<float>().data();
    auto* halves = halves_.span<std::int32_t>().data();
    rows = {q, scale, sum, halves};
    const std::int64_t group = std::max<std::int64_t>(1, 16384 / K);
    parallel_for((M + group - 1) / group, [&](std::int64_t n) {
      for (std::int64_t m = n * group; m < std::min(M, (n + 1) * group); ++m) {
        bodies.round(x.data + m * x.stride[0],
                     K,
                     q + m * K,
                     scale + m * blocks,
                     sum + m * blocks,
                     halves + m * blocks * 2);
      }
    });
  }

  kernels::Int8Rows rows;

 private:
  // Kept from call to call: a token of decoding rounds hundreds of small rows.
  static thread_local Tensor q_, scale_, sum_, halves_;

  static void grow(Tensor& t, DType dtype, std::int64_t n) {
    if (t.size() < n) t = Tensor(dtype, {n});
  }
};
thread_local Tensor Rounded::q_, Rounded::scale_, Rounded::sum_, Rounded::halves_;

}  // namespace

Linear::Linear(const AnyView& weight, const AnyView& bias, Layout layout) {
  expect_matrix(weight);
  const Tensor w = widen(weight, layout);
  body_ = kernels::packed_linear(w, bias_of(bias, w.dim(0)));
}

Linear Linear::stored(const AnyView& weight, const AnyView& bias, Compute compute) {
  expect_matrix(weight);
  Linear made;
  made.body_ = kernels::stored_linear(weight, bias_of(bias, weight.shape[0]), compute);
  return made;
}

Linear::Linear() = default;
Linear::Linear(Linear&&) noexcept = default;
Linear& Linear::operator=(Linear&&) noexcept = default;
Linear::~Linear() = default;

std::int64_t Linear::in() const { return body_->K; }
std::int64_t Linear::out() const { return body_->N; }

void Linear::operator()(View<const float, 2> x, View<float, 2> y) const {
  const Linear* self = this;
  multiply({&self, 1}, x, {&y, 1});
}

void Linear::multiply(std::span<const Linear* const> linears,
                      View<const float, 2> x,
                      std::span<const View<float, 2>> y) {
  if (linears.size() != y.size()) {
    throw Error(ErrorCode::kShape,
                fmt::format("[linear] expected {} results, found {}", linears.size(), y.size()));
  }
  constexpr std::size_t kMost = 16;
  if (linears.size() > kMost) {
    multiply(linears.first(kMost), x, y.first(kMost));
    return multiply(linears.subspan(kMost), x, y.subspan(kMost));
  }
  const std::int64_t M = x.shape[0];
  std::array<std::int64_t, kMost + 1> first{};  // of each one's tasks
  bool rounds = false;
  for (std::size_t i = 0; i < linears.size(); ++i) {
    kernels::LinearBody& body = *linears[i]->body_;
    check(x, y[i], body.K, body.N);
    first[i + 1] = first[i] + body.tasks(M);
    rounds = rounds || body.rounds();
  }
  kernels::LinearInput in{x, {}, &kernels::linear_bodies(kernels::table().name)};
  if (rounds) in.rounded = Rounded(x, *in.bodies).rows;
  parallel_for(first[linears.size()], [&](std::int64_t task) {
    std::size_t i = 0;
    while (task >= first[i + 1]) ++i;
    linears[i]->body_->run(task - first[i], in, y[i]);
  });
}

void Linear::reference(const AnyView& weight,
                       const AnyView& bias,
                       Layout layout,
                       View<const float, 2> x,
                       View<float, 2> y) {
  expect_matrix(weight);
  const Tensor w = widen(weight, layout);
  const auto rows = w.view<float, 2>();
  const Tensor b = bias_of(bias, w.dim(0));
  check(x, y, w.dim(1), w.dim(0));
  for (std::int64_t m = 0; m < x.shape[0]; ++m) {
    for (std::int64_t n = 0; n < w.dim(0); ++n) {
      double sum =
          b.empty() ? 0.0 : static_cast<double>(b.span<float>()[static_cast<std::size_t>(n)]);
      for (std::int64_t k = 0; k < w.dim(1); ++k)
        sum += static_cast<double>(x(m, k)) * static_cast<double>(rows(n, k));
      y(m, n) = static_cast<float>(sum);
    }
  }
}

}  // namespace headscope
