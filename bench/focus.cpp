// Step 3 against the f32 FMA peak of the same run: shapes x what is recorded.
#include <benchmark/benchmark.h>

#include <map>
#include <random>

#include "headscope/attention.h"
#include "peaks.h"

namespace {

using namespace headscope;

Tensor noise(Shape shape, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Tensor t(DType::kF32, std::move(shape));
  for (float& x : t.span<float>()) x = normal(generator);
  return t;
}

enum Look { kBlind, kStats, kEverything };

Sight sight_of(Look look) {
  if (look == kEverything) return Sight::everything();
  return {};
}

void run(benchmark::State& state,
         std::int64_t B,
         std::int64_t H,
         std::int64_t T,
         std::int64_t D,
         bool causal,
         Look look) {
  const double peak =
      bench::fma_peak();  // beside every row: clocks and neighbours change within a run
  const Tensor q = noise({B, H, T, D}, 1);
  const Tensor k = noise({B, H, T, D}, 2);
  const Tensor v = noise({B, H, T, D}, 3);
  Tensor out(DType::kF32, {B, H, T, D});
  FocusInput in{q.view<float, 4>(), k.view<float, 4>(), v.view<float, 4>(), {}};
  in.options.causal = causal;
  const Sight sight = sight_of(look);
  for (auto _ : state) {
    FocusRecord record;
    focus(in, {out.view<float, 4>(), {}}, look == kBlind ? nullptr : &sight, &record);
    benchmark::DoNotOptimize(out.raw());
  }
  const double pairs = causal ? 0.5 * static_cast<double>(T) * static_cast<double>(T + 1)
                              : static_cast<double>(T * T);
  const double flop =
      4.0 * pairs * static_cast<double>(B * H * D) * static_cast<double>(state.iterations());
  state.counters["TFLOP/s"] = benchmark::Counter(flop / 1e12, benchmark::Counter::kIsRate);
  state.counters["share"] = benchmark::Counter(flop / peak, benchmark::Counter::kIsRate);
  state.counters["peak"] = peak / 1e12;
}

void focus_f32(benchmark::State& state) {
  run(state, 1, 4, state.range(0), state.range(1), false, kBlind);
}
void focus_f32_causal(benchmark::State& state) {
  run(state, 1, 4, state.range(0), state.range(1), true, kBlind);
}
void focus_f32_stats(benchmark::State& state) {
  run(state, 1, 4, state.range(0), state.range(1), false, kStats);
}
void focus_f32_everything(benchmark::State& state) {
  run(state, 1, 4, state.range(0), state.range(1), false, kEverything);
}
void focus_f32_many_heads(benchmark::State& state) {
  run(state, 1, 96, state.range(0), state.range(1), false, kBlind);
}

#define SHAPES            \
  ->Args({512, 64})       \
      ->Args({2048, 64})  \
      ->Args({4096, 64})  \
      ->Args({2048, 32})  \
      ->Args({2048, 128}) \
      ->UseRealTime()     \
      ->Unit(benchmark::kMillisecond)
BENCHMARK(focus_f32) SHAPES;
BENCHMARK(focus_f32_causal) SHAPES;
BENCHMARK(focus_f32_stats) SHAPES;
BENCHMARK(focus_f32_everything) SHAPES;
BENCHMARK(focus_f32_many_heads)->Args({128, 64})->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
