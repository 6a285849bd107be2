// Products with quantised weights: matrix-vector against the rate at which memory can be read, many rows
// against the rates of the f32 FMA and of int8 products, all of the same run.
#include "tensor/quants.h"

#include <benchmark/benchmark.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "headscope/linear.h"
#include "headscope/threads.h"
#include "kernels/measure.h"
#include "kernels/peaks.h"

namespace {

using namespace headscope;

Tensor weight_of(DType dtype, std::int64_t N, std::int64_t K) {
  std::mt19937 generator(1);
  Tensor w(dtype, {N, K});
  auto* bytes = reinterpret_cast<std::uint8_t*>(w.raw());
  if (dtype == DType::kF32) {
    for (float& x : w.span<float>()) x = 1e-9F * static_cast<float>(generator());
    return w;
  }
  // Any bits will do but for floats that are not finite: bytes of f16 and factors stay below 0x3C.
  for (std::size_t i = 0; i < w.bytes(); ++i)
    bytes[i] = static_cast<std::uint8_t>(generator() & 0x3B);
  return w;
}

// Weights of as many layers as it takes to leave the caches, each read once a pass.
struct Layers {
  std::vector<Tensor> weights;
  std::vector<Linear> linears;
  std::size_t bytes = 0;

  Layers(DType dtype, std::int64_t N, std::int64_t K, Linear::Compute compute, std::size_t total) {
    while (bytes < total || weights.empty()) {
      weights.push_back(weight_of(dtype, N, K));
      bytes += weights.back().bytes();
      if (weights.size() >= 400) break;
    }
    for (const Tensor& w : weights) linears.push_back(Linear::stored(w.any(), {}, compute));
  }
};

void few(benchmark::State& state, DType dtype, Linear::Compute compute, std::size_t total) {
  const std::int64_t M = state.range(0);
  const std::int64_t K = state.range(1);
  const std::int64_t N = state.range(2);
  static const double dram = kernels::DramReader().read(threads()).per_second;
  const Layers layers(dtype, N, K, compute, total);
  const Tensor x = weight_of(DType::kF32, M, K);
  Tensor y(DType::kF32, {M, N});
  for (auto _ : state) {
    for (const Linear& linear : layers.linears) linear(x.view<float, 2>(), y.view<float, 2>());
    benchmark::DoNotOptimize(y.raw());
  }
  const double bytes = static_cast<double>(layers.bytes) * static_cast<double>(state.iterations());
  state.counters["GB/s"] = benchmark::Counter(bytes / 1e9, benchmark::Counter::kIsRate);
  state.counters["share_dram"] = benchmark::Counter(bytes / dram, benchmark::Counter::kIsRate);
  state.counters["us_each"] = benchmark::Counter(
      static_cast<double>(layers.linears.size() * static_cast<std::size_t>(state.iterations())) /
          1e6,
      benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void many(benchmark::State& state, DType dtype, Linear::Compute compute) {
  const std::int64_t M = state.range(0);
  const std::int64_t K = state.range(1);
  const std::int64_t N = state.range(2);
  static const double peak = kernels::peak_flops(DType::kF32).per_second;
  const Tensor w = weight_of(dtype, N, K);
  const Linear linear = Linear::stored(w.any(), {}, compute);
  const Tensor x = weight_of(DType::kF32, M, K);
  Tensor y(DType::kF32, {M, N});
  for (auto _ : state) {
    linear(x.view<float, 2>(), y.view<float, 2>());
    benchmark::DoNotOptimize(y.raw());
  }
  const double flop =
      2.0 * static_cast<double>(M * K * N) * static_cast<double>(state.iterations());
  state.counters["TFLOP/s"] = benchmark::Counter(flop / 1e12, benchmark::Counter::kIsRate);
  state.counters["of_f32_peak"] = benchmark::Counter(flop / peak, benchmark::Counter::kIsRate);
}

// All products of SmolLM2-135M for M tokens, as its file stores them: 30 layers of q4_1, and the word
// embeddings in q8_0 as output projection of the last token. What a model can reach at most.
void smollm2(benchmark::State& state) {
  constexpr std::int64_t kLayers = 30;
  constexpr std::int64_t C = 576, kv = 192, mlp = 1536, words = 49152;
  const std::int64_t M = state.range(0);
  static const double dram = kernels::DramReader().read(threads()).per_second;
  const auto layers = [](std::int64_t N, std::int64_t K) {
    return Layers(
        DType::kQ4_1, N, K, Linear::Compute::kFast, bytes_of(DType::kQ4_1, N * K) * kLayers);
  };
  const Layers q = layers(C, C), k = layers(kv, C), v = layers(kv, C), o = layers(C, C);
  const Layers gate = layers(mlp, C), up = layers(mlp, C), down = layers(C, mlp);
  const Layers output(DType::kQ8_0, words, C, Linear::Compute::kFast, 1);
  const Tensor x = weight_of(DType::kF32, M, C);
  const Tensor wide = weight_of(DType::kF32, M, mlp);
  Tensor y(DType::kF32, {M, 2 * mlp});
  Tensor logits(DType::kF32, {1, words});
  const auto columns = [&](std::int64_t first, std::int64_t n) {
    return View<float, 2>(y.span<float>().data() + first, {M, n}, {2 * mlp, 1});
  };
  const auto pass = [&] {
    for (std::size_t i = 0; i < kLayers; ++i) {
      const Linear* qkv[] = {&q.linears[i], &k.linears[i], &v.linears[i]};
      const View<float, 2> qkv_to[] = {columns(0, C), columns(C, kv), columns(C + kv, kv)};
      Linear::multiply(qkv, x.view<float, 2>(), qkv_to);
      o.linears[i](x.view<float, 2>(), columns(0, C));
      const Linear* both[] = {&gate.linears[i], &up.linears[i]};
      const View<float, 2> both_to[] = {columns(0, mlp), columns(mlp, mlp)};
      Linear::multiply(both, x.view<float, 2>(), both_to);
      down.linears[i](wide.view<float, 2>(), columns(0, C));
    }
    output.linears[0](View<const float, 2>(x.span<float>().data(), {1, C}),
                      logits.view<float, 2>());
  };
  pass();  // the first one makes scratch and wakes threads
  for (auto _ : state) pass();
  const double bytes = static_cast<double>(q.bytes + k.bytes + v.bytes + o.bytes + gate.bytes +
                                           up.bytes + down.bytes + output.bytes);
  const auto passes = static_cast<double>(state.iterations());
  state.counters["tokens/s"] =
      benchmark::Counter(static_cast<double>(M) * passes, benchmark::Counter::kIsRate);
  state.counters["GB/s"] = benchmark::Counter(bytes * passes / 1e9, benchmark::Counter::kIsRate);
  state.counters["share_dram"] =
      benchmark::Counter(bytes * passes / dram, benchmark::Counter::kIsRate);
}

}  // namespace

int main(int argc, char** argv) {
  struct Row {
    DType dtype;
    Linear::Compute compute;
    const char* label;
  };
  const Row rows[] = {{DType::kQ4_1, Linear::Compute::kFast, "fast"},
                      {DType::kQ4_0, Linear::Compute::kFast, "fast"},
                      {DType::kQ8_0, Linear::Compute::kFast, "fast"},
                      {DType::kQ4_K, Linear::Compute::kFast, "fast"},
                      {DType::kQ6_K, Linear::Compute::kFast, "fast"},
                      {DType::kF16, Linear::Compute::kExact, "exact"},
                      {DType::kBF16, Linear::Compute::kExact, "exact"},
                      {DType::kF32, Linear::Compute::kExact, "exact"},
                      {DType::kQ4_1, Linear::Compute::kExact, "exact"}};
  // SmolLM2's, whose K is no multiple of 256, and a large one.
  const std::vector<std::pair<std::int64_t, std::int64_t>> small{
      {576, 1536}, {1536, 576}, {576, 192}};
  for (const Row& row : rows) {
    const std::string tail = "/" + std::string(name(row.dtype)) + "/" + row.label;
    const bool wide = block_of(row.dtype).numbers == 256;
    auto shapes = wide ? decltype(small){} : small;
    shapes.emplace_back(4096, 4096);
    for (auto [K, N] : shapes) {
      for (std::int64_t M : {1, 4}) {
        benchmark::RegisterBenchmark(
            ("few" + tail).c_str(), few, row.dtype, row.compute, std::size_t{100} << 20)
            ->Args({M, K, N})
            ->UseRealTime()
            ->Unit(benchmark::kMicrosecond);
      }
      if (K == 1536 || K == 4096)
        benchmark::RegisterBenchmark(
            ("few_in_cache" + tail).c_str(), few, row.dtype, row.compute, std::size_t{4} << 20)
            ->Args({1, K, N})
            ->UseRealTime()
            ->Unit(benchmark::kMicrosecond);
      for (std::int64_t M : {16, 512}) {
        if (K == 4096 && M == 16) continue;
        benchmark::RegisterBenchmark(("many" + tail).c_str(), many, row.dtype, row.compute)
            ->Args({M, K, N})
            ->UseRealTime()
            ->Unit(benchmark::kMicrosecond);
      }
    }
  }
  benchmark::RegisterBenchmark(
      "few/q8_0/fast/output", few, DType::kQ8_0, Linear::Compute::kFast, std::size_t{1})
      ->Args({1, 576, 49152})
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
  for (std::int64_t M : {1, 2, 8, 128, 512})
    benchmark::RegisterBenchmark("smollm2", smollm2)
        ->Arg(M)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
