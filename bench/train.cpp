// A step of training at the shape of GPT-2 124M (B=4, T=256) against oneDNN's matrix products of the same shapes alone,
// timed in turns in the same run.
//   train [STEPS [SEQUENCES [TOKENS [f32|bf16]]]]    bf16: both multiply numbers rounded to bf16
#include "headscope/train.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <oneapi/dnnl/dnnl.hpp>
#include <random>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "headscope/threads.h"
#include "kernels/isa.h"
#include "kernels/measure.h"

namespace {

using namespace headscope;
using kernels::now;

constexpr const char* kGpt2 =
    R"({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 768, "n_head": 12,
        "n_layer": 12, "n_positions": 1024, "vocab_size": 50257})";

train::Batch batch_of(std::int64_t sequences, std::int64_t tokens, std::int64_t vocabulary) {
  std::mt19937 generator(1);
  train::Batch batch;
  batch.ids = Tensor(DType::kI32, {sequences * tokens});
  batch.labels = Tensor(DType::kI32, {sequences * tokens});
  batch.cu_seqlens = Tensor(DType::kI32, {sequences + 1});
  for (std::int32_t& id : batch.ids.span<std::int32_t>())
    id = static_cast<std::int32_t>(generator() % static_cast<std::uint64_t>(vocabulary));
  for (std::int32_t& id : batch.labels.span<std::int32_t>())
    id = static_cast<std::int32_t>(generator() % static_cast<std::uint64_t>(vocabulary));
  for (std::int64_t s = 0; s <= sequences; ++s)
    batch.cu_seqlens.span<std::int32_t>()[static_cast<std::size_t>(s)] =
        static_cast<std::int32_t>(s * tokens);
  return batch;
}

// The three products of one linear map, on oneDNN's own threads, in the layouts that it likes best: more than a step can
// reach, as nothing has to be brought into them and the same numbers are used again and again.
class Products {
 public:
  Products(std::int64_t M, std::int64_t K, std::int64_t N, DType dtype) : M_(M), K_(K), N_(N) {
    const auto type = dtype == DType::kBF16 ? memory::data_type::bf16 : memory::data_type::f32;
    forth_ = product(M, K, N, type);
    back_ = product(M, N, K, type);
    weight_ = product(K, M, N, type);
  }

  void run() {
    for (Product* p : {&forth_, &back_, &weight_}) p->primitive.execute(stream_, p->args);
    stream_.wait();
  }
  [[nodiscard]] double flop() const { return 6.0 * static_cast<double>(M_ * K_ * N_); }

 private:
  using memory = dnnl::memory;
  struct Product {
    dnnl::matmul primitive;
    std::unordered_map<int, memory> args;
  };

  // Zeros are as fast as other numbers, and never become denormal, which is slow.
  memory zeros(const memory::desc& desc) {
    memory made(desc, engine_);
    std::memset(made.get_data_handle(), 0, desc.get_size());
    return made;
  }
  Product product(std::int64_t M, std::int64_t K, std::int64_t N, memory::data_type type) {
    const auto any = memory::format_tag::any;
    const memory::desc a({M, K}, type, any);
    const memory::desc b({K, N}, type, any);
    const memory::desc c({M, N}, memory::data_type::f32, memory::format_tag::ab);
    const dnnl::matmul::primitive_desc chosen(dnnl::matmul::desc(a, b, c), engine_);
    return {dnnl::matmul(chosen),
            {{DNNL_ARG_SRC, zeros(chosen.src_desc())},
             {DNNL_ARG_WEIGHTS, zeros(chosen.weights_desc())},
             {DNNL_ARG_DST, zeros(chosen.dst_desc())}}};
  }

  std::int64_t M_, K_, N_;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  Product forth_, back_, weight_;
};

double peak_gib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / (1 << 20);
}

double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x[x.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const auto word = [&](int n, long fallback) {
    return argc > n ? std::max(1L, std::strtol(argv[n], nullptr, 10)) : fallback;
  };
  const long steps = word(1, 3);
  const std::int64_t sequences = word(2, 4);
  const std::int64_t tokens = std::min(1024L, word(3, 256));
  const std::string_view wanted = argc > 4 ? argv[4] : "f32";
  if (wanted != "f32" && wanted != "bf16") {
    fmt::print(stderr, "bench/train: expected f32 or bf16, found {}\n", wanted);
    return 2;
  }
  const DType compute = wanted == "bf16" ? DType::kBF16 : DType::kF32;
  const std::int64_t M = sequences * tokens;
  double memory = 0.0;
  std::vector<double> step_s;
  std::vector<double> update_s;
  std::vector<double> products_s;
  train::Trainee trainee = train::Trainee::fresh(kGpt2, 1);
  train::AdamW adamw(trainee.parameters());
  const train::Batch batch = batch_of(sequences, tokens, trainee.vocabulary());
  const double scale = 1.0 / static_cast<double>(M);
  double flop = 0.0;
  for (long n = 0; n <= steps; ++n) {
    const double start = now();
    const train::Loss loss = trainee.step(batch, {.scale = scale, .compute = compute});
    const double middle = now();
    adamw.step(trainee.parameters(), 1e-4);
    const double end = now();
    if (n == 0) memory = peak_gib();
    // Layers repeat: one of them, twelve times. Logits come once.
    double took = 0.0;
    flop = 0.0;
    for (const auto& [K, N, times] : {std::array<std::int64_t, 3>{768, 2304, 12},
                                      std::array<std::int64_t, 3>{768, 768, 12},
                                      std::array<std::int64_t, 3>{768, 3072, 12},
                                      std::array<std::int64_t, 3>{3072, 768, 12},
                                      std::array<std::int64_t, 3>{768, 50257, 1}}) {
      Products products(M, K, N, compute);
      products.run();  // warms up
      const double before = now();
      for (std::int64_t t = 0; t < times; ++t) products.run();
      took += now() - before;
      flop += static_cast<double>(times) * products.flop();
    }
    fmt::print(
        "loss {:.4f}  step {:.2f} s  update {:.2f} s  products alone {:.2f} s ({:.0f} GFLOP/s){}\n",
        loss.sum_nats / static_cast<double>(loss.count),
        middle - start,
        end - middle,
        took,
        flop / took / 1e9,
        n == 0 ? "  (warm-up, does not count)" : "");
    std::fflush(stdout);
    if (n == 0) continue;
    step_s.push_back(middle - start);
    update_s.push_back(end - middle);
    products_s.push_back(took);
  }
  const double whole = median(step_s) + median(update_s);
  fmt::print(
      "{} threads, {}, {}: {:.0f} tokens/s; share of oneDNN's products alone {:.0f} %, of the step "
      "without the update "
      "{:.0f} %; peak memory {:.2f} GiB\n",
      threads(),
      kernels::table().name,
      name(compute),
      static_cast<double>(M) / whole,
      100.0 * median(products_s) / whole,
      100.0 * median(products_s) / median(step_s),
      memory);
  return 0;
}
