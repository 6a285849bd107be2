// What this machine can do at most: the peaks that every other benchmark's shares are of.
#include <benchmark/benchmark.h>

#include <string>

#include "headscope/threads.h"
#include "kernels/measure.h"

namespace {

using namespace headscope;

void registers(benchmark::State& state, const kernels::Peak& peak, int n) {
  double best = 0.0;
  for (auto _ : state) {
    const kernels::Rate rate = kernels::rate_of(peak, n, 0.05);
    state.SetIterationTime(rate.seconds);
    best = std::max(best, rate.per_second);
  }
  if (peak.unit == "flop")
    state.counters["TFLOP/s"] = best / 1e12;
  else
    state.counters["Gexp/s"] = best / 1e9;
  state.SetLabel(std::string(peak.isa));
}

void dram_read(benchmark::State& state, int n) {
  static const kernels::DramReader reader;
  double best = 0.0;
  for (auto _ : state) {
    const kernels::Rate rate = reader.read(n);
    state.SetIterationTime(rate.seconds);
    best = std::max(best, rate.per_second);
  }
  state.counters["GB/s"] = best / 1e9;
}

}  // namespace

int main(int argc, char** argv) {
  const int most = threads();
  for (const kernels::Peak& peak : kernels::peaks()) {
    for (int n = 1; n <= most; n = n < most ? std::min(2 * n, most) : n + 1) {
      const std::string name = std::string(peak.name) + "/threads:" + std::to_string(n);
      benchmark::RegisterBenchmark(
          name.c_str(), [peak, n](benchmark::State& state) { registers(state, peak, n); })
          ->Iterations(3)
          ->UseManualTime()
          ->Unit(benchmark::kMillisecond);
    }
  }
  for (int n = 1; n <= most; n = n < most ? std::min(2 * n, most) : n + 1) {
    const std::string name = "dram_read/threads:" + std::to_string(n);
    benchmark::RegisterBenchmark(name.c_str(),
                                 [n](benchmark::State& state) { dram_read(state, n); })
        ->Iterations(3)
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
