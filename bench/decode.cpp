// One or a few rows over a long cache: bytes of K and V a second against what DRAM gives in the same run.
#include <benchmark/benchmark.h>

#include <string>

#include "cli/bench_case.h"
#include "headscope/threads.h"
#include "kernels/measure.h"

namespace {

using namespace headscope;

void decode(benchmark::State& state, const cli::FocusShape& shape) {
  static const kernels::DramReader reader;
  const double peak = reader.read(threads()).per_second;
  cli::FocusCase call(shape);
  for (auto _ : state) call.run();
  const double bytes = call.cache_bytes() * static_cast<double>(state.iterations());
  state.counters["GB/s"] = benchmark::Counter(bytes / 1e9, benchmark::Counter::kIsRate);
  state.counters["share"] = benchmark::Counter(bytes / peak, benchmark::Counter::kIsRate);
  state.counters["peak"] = peak / 1e9;
}

}  // namespace

int main(int argc, char** argv) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const std::int64_t keys : {8192, 32768}) {
      for (const std::int64_t rows : {1, 4}) {
        const cli::FocusShape shape{.dtype = dtype,
                                    .heads = 32,
                                    .groups = 8,
                                    .rows = rows,
                                    .keys = keys,
                                    .width = 128,
                                    .options = "causal"};
        benchmark::RegisterBenchmark(shape.name().c_str(),
                                     [shape](benchmark::State& state) { decode(state, shape); })
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
      }
    }
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
