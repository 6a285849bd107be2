// Linear with its weight packed by oneDNN.
#include <algorithm>
#include <map>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <vector>

#include "kernels/linear_body.h"
#include "kernels/one_thread.h"

namespace headscope::kernels {

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

// Held while oneDNN makes a primitive. It keeps each for whoever asks for the same again, and lets threads that ask at
// the same moment share one by a wait that thread checkers cannot see into.
std::mutex& making() {
  static std::mutex one_at_a_time;
  return one_at_a_time;
}

dnnl::stream& stream() {
  thread_local dnnl::stream mine(engine());
  return mine;
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

struct Packed final : LinearBody {
  // Columns [first, first + width) of W^T.
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

  // Row after row of W^T. What oneDNN would choose itself are blocks, with AVX-512, wherever y is as wide as the panel;
  // when the next y is not, it has only its reference for them, at a fiftieth of the speed.
  Panel pack(const Tensor& w, std::int64_t first) const {
    Panel panel{first, std::min(kPanel, N - first), {}};
    panel.weight =
        memory({{K, panel.width}, memory::data_type::f32, memory::format_tag::ab}, engine());
    auto* rows = const_cast<float*>(w.span<float>().data()) + first * K;
    memory plain({{K, panel.width}, memory::data_type::f32, memory::dims{1, K}}, engine(), rows);
    const dnnl::reorder lay = [&] {
      const std::lock_guard<std::mutex> lock(making());
      return dnnl::reorder(plain, panel.weight);
    }();
    lay.execute(stream(), plain, panel.weight);
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
    const std::lock_guard<std::mutex> lock(making());
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
    const OneThread one;  // A primitive keeps the number of threads that it was made for.
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

  [[nodiscard]] std::int64_t tasks(std::int64_t M) const override {
    return (M + kRowBlock - 1) / kRowBlock * static_cast<std::int64_t>(panels.size());
  }

  void run(std::int64_t task, const LinearInput& in, const View<float, 2>& y) override {
    const auto count = static_cast<std::int64_t>(panels.size());
    const std::int64_t row = task / count * kRowBlock;
    guarded([&] {
      multiply(panels[static_cast<std::size_t>(task % count)],
               std::min(kRowBlock, in.x.shape[0] - row),
               in.x,
               y,
               row);
    });
  }
};

}  // namespace

std::unique_ptr<LinearBody> packed_linear(const Tensor& weight, Tensor bias) {
  auto body = std::make_unique<Packed>();
  body->N = weight.dim(0);
  body->K = weight.dim(1);
  body->bias = std::move(bias);
  guarded([&] {
    const OneThread one;
    for (std::int64_t first = 0; first < body->N; first += kPanel)
      body->panels.push_back(body->pack(weight, first));
  });
  return body;
}

}  // namespace headscope::kernels
