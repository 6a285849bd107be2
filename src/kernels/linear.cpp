#include "headscope/linear.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "headscope/threads.h"
#include "kernels/one_thread.h"

namespace headscope {

namespace {

using dnnl::memory;

// Rows of x that one single-threaded product takes. Fixed, so that the same row always meets the
// same arithmetic, whatever the number of threads.
constexpr std::int64_t kRowBlock = 128;

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

dnnl::stream& stream() {
  thread_local dnnl::stream mine(engine());
  return mine;
}

// [N,K] or [K,N] of any float dtype as [N,K] f32.
Tensor widen(const AnyView& weight, Linear::Layout layout) {
  if (weight.shape.size() != 2) {
    throw Error(ErrorCode::kShape,
                "[linear] expected a weight with 2 axes, found " + to_string(weight.shape));
  }
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

// oneDNN's own exceptions do not leave this file.
template <typename F>
auto guarded(F&& body) {
  try {
    return body();
  } catch (const dnnl::error& e) {
    const bool memory_out = e.status == dnnl_out_of_memory;
    throw Error(memory_out ? ErrorCode::kResources : ErrorCode::kInternal,
                std::string("[linear] oneDNN: ") + e.what());
  }
}

}  // namespace

struct Linear::Packed {
  std::int64_t K = 0;
  std::int64_t N = 0;
  Tensor bias;  // [N] f32 or empty
  memory::desc weight_desc;
  memory weight;  // in the layout that oneDNN chose for kRowBlock rows

  // Products of M rows (M <= kRowBlock) and strides of x and y, made when first needed.
  struct Key {
    std::int64_t M, x_stride, y_stride;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  std::mutex mutex;
  std::map<Key, dnnl::matmul> products;

  dnnl::matmul make(const Key& key, const memory::desc& w) const {
    const memory::desc x({key.M, K}, memory::data_type::f32, memory::dims{key.x_stride, 1});
    const memory::desc y({key.M, N}, memory::data_type::f32, memory::dims{key.y_stride, 1});
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::library);
    if (bias.empty()) return dnnl::matmul(dnnl::matmul::primitive_desc({x, w, y}, attr, engine()));
    const memory::desc b({1, N}, memory::data_type::f32, memory::format_tag::ab);
    return dnnl::matmul(dnnl::matmul::primitive_desc({x, w, b, y}, attr, engine()));
  }

  const dnnl::matmul& product(const Key& key) {
    const std::lock_guard<std::mutex> lock(mutex);
    auto found = products.find(key);
    if (found == products.end()) {
      const kernels::OneThread one;  // A primitive keeps the number of threads it was made for.
      found = products.emplace(key, make(key, weight_desc)).first;
    }
    return found->second;
  }

  void multiply(const dnnl::matmul& product, const Key& key, const float* x, float* y) const {
    const kernels::OneThread one;
    const auto borrow = [](memory::dims dims, memory::dims strides, const float* data) {
      return memory({std::move(dims), memory::data_type::f32, std::move(strides)},
                    engine(),
                    const_cast<float*>(data));
    };
    std::unordered_map<int, memory> args{{DNNL_ARG_SRC, borrow({key.M, K}, {key.x_stride, 1}, x)},
                                         {DNNL_ARG_WEIGHTS, weight},
                                         {DNNL_ARG_DST, borrow({key.M, N}, {key.y_stride, 1}, y)}};
    if (!bias.empty())
      args.emplace(DNNL_ARG_BIAS, borrow({1, N}, {N, 1}, bias.span<float>().data()));
    product.execute(stream(), args);
    stream().wait();
  }
};

Linear::Linear(const AnyView& weight, const AnyView& bias, Layout layout)
    : packed_(std::make_unique<Packed>()) {
  Tensor w = widen(weight, layout);
  Packed& p = *packed_;
  p.N = w.dim(0);
  p.K = w.dim(1);
  p.bias = bias_of(bias, p.N);
  if (p.N == 0 || p.K == 0)
    throw Error(ErrorCode::kShape,
                "[linear] expected a weight with numbers, found " + to_string(weight.shape));
  guarded([&] {
    const kernels::OneThread one;
    const memory::desc any({p.K, p.N}, memory::data_type::f32, memory::format_tag::any);
    const memory::desc x({kRowBlock, p.K}, memory::data_type::f32, memory::format_tag::ab);
    const memory::desc y({kRowBlock, p.N}, memory::data_type::f32, memory::format_tag::ab);
    const dnnl::matmul::primitive_desc chosen({x, any, y}, engine());
    p.weight_desc = chosen.weights_desc();
    p.weight = memory(p.weight_desc, engine());
    memory plain({{p.K, p.N}, memory::data_type::f32, memory::dims{1, p.K}}, engine(), w.raw());
    dnnl::reorder(plain, p.weight).execute(stream(), plain, p.weight);
    stream().wait();
  });
}

Linear::Linear(Linear&&) noexcept = default;
Linear& Linear::operator=(Linear&&) noexcept = default;
Linear::~Linear() = default;

std::int64_t Linear::in() const { return packed_->K; }
std::int64_t Linear::out() const { return packed_->N; }

void Linear::operator()(View<const float, 2> x, View<float, 2> y) const {
  Packed& p = *packed_;
  check(x, y, p.K, p.N);
  const std::int64_t M = x.shape[0];
  parallel_for((M + kRowBlock - 1) / kRowBlock, [&](std::int64_t n) {
    const std::int64_t row = n * kRowBlock;
    const Packed::Key key{std::min(kRowBlock, M - row), x.stride[0], y.stride[0]};
    guarded([&] {
      p.multiply(p.product(key), key, x.data + row * x.stride[0], y.data + row * y.stride[0]);
    });
  });
}

void Linear::reference(const AnyView& weight,
                       const AnyView& bias,
                       Layout layout,
                       View<const float, 2> x,
                       View<float, 2> y) {
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
