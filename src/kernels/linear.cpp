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

// One single-threaded product takes a block of rows of x and a panel of columns of y. Both are
// fixed by shapes alone, so that a number always meets the same arithmetic, whatever the number of
// threads.
constexpr std::int64_t kRowBlock = 128;
constexpr std::int64_t kPanel = 192;

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

  // Columns [first, first + width) of W^T, in the layout that oneDNN chose for kRowBlock rows.
  struct Panel {
    std::int64_t first = 0;
    std::int64_t width = 0;
    memory weight;
  };
  std::vector<Panel> panels;

  // Products of M rows (M <= kRowBlock) and one width, made when first needed.
  struct Key {
    std::int64_t M, width, x_stride, y_stride;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  struct Product {
    dnnl::matmul primitive;
    memory::desc scratchpad;
  };
  std::mutex mutex;
  std::map<Key, Product> products;

  Panel pack(const Tensor& w, std::int64_t first) const {
    Panel panel{first, std::min(kPanel, N - first), {}};
    const memory::desc any({K, panel.width}, memory::data_type::f32, memory::format_tag::any);
    const memory::desc x({kRowBlock, K}, memory::data_type::f32, memory::format_tag::ab);
    const memory::desc y({kRowBlock, panel.width}, memory::data_type::f32, memory::dims{N, 1});
    panel.weight =
        memory(dnnl::matmul::primitive_desc({x, any, y}, own_scratchpad(), engine()).weights_desc(),
               engine());
    auto* rows = const_cast<float*>(w.span<float>().data()) + first * K;
    memory plain({{K, panel.width}, memory::data_type::f32, memory::dims{1, K}}, engine(), rows);
    dnnl::reorder(plain, panel.weight).execute(stream(), plain, panel.weight);
    stream().wait();
    return panel;
  }

  // Threads share a primitive, so its scratchpad must be theirs: oneDNN's own would be one for all.
  static dnnl::primitive_attr own_scratchpad() {
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return attr;
  }

  Product make(const Key& key, const memory::desc& w) const {
    const memory::desc x({key.M, K}, memory::data_type::f32, memory::dims{key.x_stride, 1});
    const memory::desc y({key.M, key.width}, memory::data_type::f32, memory::dims{key.y_stride, 1});
    const memory::desc b({1, key.width}, memory::data_type::f32, memory::format_tag::ab);
    const dnnl::matmul::desc what =
        bias.empty() ? dnnl::matmul::desc(x, w, y) : dnnl::matmul::desc(x, w, b, y);
    const dnnl::matmul::primitive_desc chosen(what, own_scratchpad(), engine());
    return {dnnl::matmul(chosen), chosen.scratchpad_desc()};
  }

  const Product& product(const Key& key, const Panel& panel) {
    const std::lock_guard<std::mutex> lock(mutex);
    auto found = products.find(key);
    if (found == products.end())
      found = products.emplace(key, make(key, panel.weight.get_desc())).first;
    return found->second;
  }

  void multiply(const Panel& panel,
                std::int64_t M,
                const View<const float, 2>& x,
                const View<float, 2>& y,
                std::int64_t row) {
    const kernels::OneThread one;  // A primitive keeps the number of threads that it was made for.
    const Key key{M, panel.width, x.stride[0], y.stride[0]};
    const Product& chosen = product(key, panel);
    const auto borrow = [](memory::dims dims, memory::dims strides, const float* data) {
      return memory({std::move(dims), memory::data_type::f32, std::move(strides)},
                    engine(),
                    const_cast<float*>(data));
    };
    std::unordered_map<int, memory> args{
        {DNNL_ARG_SRC, borrow({M, K}, {key.x_stride, 1}, x.data + row * x.stride[0])},
        {DNNL_ARG_WEIGHTS, panel.weight},
        {DNNL_ARG_DST,
         borrow({M, panel.width}, {key.y_stride, 1}, y.data + row * y.stride[0] + panel.first)}};
    if (!bias.empty()) {
      args.emplace(
          DNNL_ARG_BIAS,
          borrow({1, panel.width}, {panel.width, 1}, bias.span<float>().data() + panel.first));
    }
    thread_local Tensor scratch;
    const auto bytes = static_cast<std::int64_t>(chosen.scratchpad.get_size());
    if (bytes > 0) {
      if (scratch.size() < bytes) scratch = Tensor(DType::kU8, {bytes});
      args.emplace(DNNL_ARG_SCRATCHPAD, memory(chosen.scratchpad, engine(), scratch.raw()));
    }
    chosen.primitive.execute(stream(), args);
    stream().wait();
  }
};

Linear::Linear(const AnyView& weight, const AnyView& bias, Layout layout)
    : packed_(std::make_unique<Packed>()) {
  const Tensor w = widen(weight, layout);
  Packed& p = *packed_;
  p.N = w.dim(0);
  p.K = w.dim(1);
  p.bias = bias_of(bias, p.N);
  if (p.N == 0 || p.K == 0) {
    throw Error(ErrorCode::kShape,
                "[linear] expected a weight with numbers, found " + to_string(weight.shape));
  }
  guarded([&] {
    const kernels::OneThread one;
    for (std::int64_t first = 0; first < p.N; first += kPanel) p.panels.push_back(p.pack(w, first));
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
  const auto panels = static_cast<std::int64_t>(p.panels.size());
  parallel_for((M + kRowBlock - 1) / kRowBlock * panels, [&](std::int64_t n) {
    const std::int64_t row = n / panels * kRowBlock;
    guarded([&] {
      p.multiply(
          p.panels[static_cast<std::size_t>(n % panels)], std::min(kRowBlock, M - row), x, y, row);
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
