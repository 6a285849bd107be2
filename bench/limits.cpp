// What this machine can do at most: the peaks that every other benchmark's shares are of.
#include <benchmark/benchmark.h>

#include <vector>

#include "peaks.h"

namespace {

using namespace headscope;

void fma_f32(benchmark::State& state) {
  set_threads(static_cast<int>(state.range(0)));
  double flop = 0.0;
  for (auto _ : state) {
    parallel_for(state.range(0), [&](std::int64_t n) {
      const double done = kernels::table().fma_peak(10'000'000);
      if (n == 0) flop = done;
    });
  }
  state.counters["TFLOP/s"] =
      benchmark::Counter(flop * static_cast<double>(state.range(0) * state.iterations()) / 1e12,
                         benchmark::Counter::kIsRate);
  state.SetLabel(std::string(kernels::table().name));
}

void dram_read(benchmark::State& state) {
  set_threads(static_cast<int>(state.range(0)));
  const std::vector<double> numbers(std::size_t{1} << 26, 1.0);  // 512 MiB: past every cache
  std::vector<double> sums(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    parallel_for(state.range(0), [&](std::int64_t n) {
      const std::size_t share = numbers.size() / sums.size();
      const double* from = numbers.data() + static_cast<std::size_t>(n) * share;
      double s[8] = {};
      for (std::size_t i = 0; i + 8 <= share; i += 8) {
        for (std::size_t m = 0; m < 8; ++m) s[m] += from[i + m];
      }
      sums[static_cast<std::size_t>(n)] = s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
    });
    benchmark::DoNotOptimize(sums.data());
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(numbers.size() * sizeof(double)) *
                          state.iterations());
}

BENCHMARK(fma_f32)->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(dram_read)->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
