// The backward pass of step 3 against the f32 FMA peak of the same run: shapes x dtypes x causal.
#include <benchmark/benchmark.h>

#include <random>

#include "headscope/attention.h"
#include "kernels/measure.h"

namespace {

using namespace headscope;

template <typename T>
T make(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    return to_bf16(x);
  }
}

template <typename T>
Tensor noise(Shape shape, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Tensor t(kDTypeOf<T>, std::move(shape));
  for (T& x : t.span<T>()) x = make<T>(normal(generator));
  return t;
}

// Five products of 2*T*T*D flop a head; the forward pass is not in the time.
template <typename T>
void run(benchmark::State& state, std::int64_t H, bool causal) {
  const std::int64_t N = state.range(0);
  const std::int64_t D = state.range(1);
  const double peak =
      kernels::peak_flops(DType::kF32).per_second;  // beside every row: clocks change within a run
  const Shape shape{1, H, N, D};
  const Tensor q = noise<T>(shape, 1);
  const Tensor k = noise<T>(shape, 2);
  const Tensor v = noise<T>(shape, 3);
  const Tensor dout = noise<T>(shape, 4);
  Tensor z(kDTypeOf<T>, shape);
  Tensor lse(DType::kF32, {1, H, N});
  Tensor dq(kDTypeOf<T>, shape);
  Tensor dk(kDTypeOf<T>, shape);
  Tensor dv(kDTypeOf<T>, shape);
  FocusGradientInputOf<T> in;
  in.forward = {q.view<T, 4>(), k.view<T, 4>(), v.view<T, 4>(), {}};
  in.forward.options.causal = causal;
  focus(in.forward, FocusOutputOf<T>{z.view<T, 4>(), lse.view<float, 3>()});
  in.out = z.view<T, 4>();
  in.lse = lse.view<float, 3>();
  in.dout = dout.view<T, 4>();
  const FocusGradientOf<T> out{dq.view<T, 4>(), dk.view<T, 4>(), dv.view<T, 4>(), {}, {}};
  for (auto _ : state) {
    focus_backward(in, out);
    benchmark::DoNotOptimize(dq.raw());
  }
  const double pairs = causal ? 0.5 * static_cast<double>(N) * static_cast<double>(N + 1)
                              : static_cast<double>(N * N);
  const double flop =
      10.0 * pairs * static_cast<double>(H * D) * static_cast<double>(state.iterations());
  state.counters["TFLOP/s"] = benchmark::Counter(flop / 1e12, benchmark::Counter::kIsRate);
  state.counters["share"] = benchmark::Counter(flop / peak, benchmark::Counter::kIsRate);
  state.counters["peak"] = peak / 1e12;
}

void backward_f32(benchmark::State& state) { run<float>(state, 4, false); }
void backward_f32_causal(benchmark::State& state) { run<float>(state, 4, true); }
void backward_f32_one_head(benchmark::State& state) { run<float>(state, 1, false); }
void backward_f32_many_heads(benchmark::State& state) { run<float>(state, 96, false); }
void backward_bf16(benchmark::State& state) { run<bf16>(state, 4, false); }
void backward_bf16_causal(benchmark::State& state) { run<bf16>(state, 4, true); }

#define SHAPES            \
  ->Args({512, 64})       \
      ->Args({2048, 64})  \
      ->Args({4096, 64})  \
      ->Args({2048, 128}) \
      ->Args({4096, 128}) \
      ->UseRealTime()     \
      ->Unit(benchmark::kMillisecond)
BENCHMARK(backward_f32) SHAPES;
BENCHMARK(backward_f32_causal) SHAPES;
BENCHMARK(backward_bf16) SHAPES;
BENCHMARK(backward_bf16_causal) SHAPES;
BENCHMARK(backward_f32_one_head)->Args({4096, 64})->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(backward_f32_many_heads)->Args({128, 64})->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
