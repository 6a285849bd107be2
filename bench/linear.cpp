// Steps 1 and 5, and the MLP: matrix products of real shapes against the f32 FMA peak of the same
// run.
#include "headscope/linear.h"

#include <benchmark/benchmark.h>

#include <random>

#include "kernels/measure.h"

namespace {

using namespace headscope;

// Arguments: rows M, in K, out N.
void linear_f32(benchmark::State& state) {
  const double peak = kernels::peak_flops(DType::kF32).per_second;
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  Tensor w(DType::kF32, {state.range(2), state.range(1)});
  Tensor x(DType::kF32, {state.range(0), state.range(1)});
  Tensor y(DType::kF32, {state.range(0), state.range(2)});
  for (float& v : w.span<float>()) v = normal(generator);
  for (float& v : x.span<float>()) v = normal(generator);
  const Linear linear(w.any());
  for (auto _ : state) {
    linear(x.view<float, 2>(), y.view<float, 2>());
    benchmark::DoNotOptimize(y.raw());
  }
  const double flop = 2.0 * static_cast<double>(state.range(0) * state.range(1) * state.range(2));
  state.counters["TFLOP/s"] = benchmark::Counter(
      flop * static_cast<double>(state.iterations()) / 1e12, benchmark::Counter::kIsRate);
  state.counters["share"] = benchmark::Counter(
      flop * static_cast<double>(state.iterations()) / peak, benchmark::Counter::kIsRate);
}

void shapes(benchmark::internal::Benchmark* b) {
  for (std::int64_t M : {1, 12, 128, 512}) {
    for (auto [K, N] :
         {std::pair{384, 1152}, std::pair{384, 384}, std::pair{384, 1536}, std::pair{1536, 384}}) {
      b->Args({M, K, N});
    }
  }
}

BENCHMARK(linear_f32)->Apply(shapes)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();
