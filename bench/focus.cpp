// Step 3 against the peak of the same run: shapes x dtypes x options x what is recorded.
//   bench/focus                                       the main rows, and cost per score up to 131,072 tokens
//   bench/focus --benchmark_filter=grid/              every shape, dtype, option and sight
//   bench/focus --benchmark_filter='bf16 4x4096x64'   some of them
#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cli/bench_case.h"
#include "headscope/sighting.h"
#include "heap.h"
#include "kernels/measure.h"

namespace {

using namespace headscope;
using cli::FocusShape;

constexpr std::int64_t kLong = 131072;

void focus_row(benchmark::State& state, const FocusShape& shape) {
  // Beside every row: clocks and neighbours change within a run.
  const double peak = kernels::peak_flops(shape.dtype).per_second;
  cli::FocusCase call(shape);
  call.run();
  call.record() = {};
  const std::size_t before = bench::heap_bytes();
  bench::restart_heap_peak();
  call.run();
  const std::size_t recorded = bench::heap_bytes() - before;
  const std::size_t beyond = bench::heap_peak() - before - recorded;
  for (auto _ : state) call.run();
  const double flop = call.flop() * static_cast<double>(state.iterations());
  state.counters["TFLOP/s"] = benchmark::Counter(flop / 1e12, benchmark::Counter::kIsRate);
  state.counters["share"] = benchmark::Counter(flop / peak, benchmark::Counter::kIsRate);
  state.counters["peak"] = peak / 1e12;
  state.counters["beyond_MB"] = static_cast<double>(beyond) / 1e6;
  state.counters["record_MB"] = static_cast<double>(recorded) / 1e6;
}

// What a long text left behind, for `row` and `tile`.
std::unique_ptr<Sighting> long_sighting;

void scale_row(benchmark::State& state, const FocusShape& shape) {
  const double peak = kernels::peak_flops(shape.dtype).per_second;
  cli::FocusCase call(shape);
  const std::size_t before = bench::heap_bytes();
  bench::restart_heap_peak();
  for (auto _ : state) call.run();
  const double runs = static_cast<double>(state.iterations());
  const double scores = static_cast<double>(shape.heads * shape.rows * shape.keys);
  state.counters["ns/score"] = benchmark::Counter(
      scores * runs / 1e9, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  state.counters["share"] =
      benchmark::Counter(call.flop() * runs / peak, benchmark::Counter::kIsRate);
  state.counters["peak_MB"] = static_cast<double>(bench::heap_peak() - before) / 1e6;
  if (shape.keys == kLong && shape.sight == "everything") {
    long_sighting = std::make_unique<Sighting>();
    long_sighting->layers.push_back(std::move(call.record()));
  }
}

const Sighting& sighting_of_long_text() {
  if (long_sighting == nullptr) {
    cli::FocusCase call(
        {.heads = 1, .groups = 1, .rows = kLong, .keys = kLong, .sight = "everything"});
    call.run();
    long_sighting = std::make_unique<Sighting>();
    long_sighting->layers.push_back(std::move(call.record()));
  }
  return *long_sighting;
}

void exact_row(benchmark::State& state) {
  const FocusRecord& record = sighting_of_long_text().layers[0];
  std::vector<float> weights(kLong);
  std::int64_t i = 0;
  for (auto _ : state) {
    i = (i + 7919) % kLong;
    record.row(0, 0, i, weights);
    benchmark::DoNotOptimize(weights.data());
  }
}

void exact_tile(benchmark::State& state, int level) {
  const Sighting& sighting = sighting_of_long_text();
  const std::int64_t tiles = (kLong >> level) / Sighting::kTile;
  std::int64_t n = 0;
  for (auto _ : state) {
    n = (n + 101) % tiles;
    benchmark::DoNotOptimize(sighting.tile(0, 0, level, n, tiles - 1 - n));
  }
}

void add(const std::string& part, const FocusShape& shape) {
  const std::string name = part + "/" + shape.name();
  benchmark::RegisterBenchmark(name.c_str(),
                               [shape](benchmark::State& state) { focus_row(state, shape); })
      ->MinTime(0.3)
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

FocusShape square(DType dtype, std::int64_t heads, std::int64_t T, std::int64_t D) {
  return {.dtype = dtype, .heads = heads, .groups = heads, .rows = T, .keys = T, .width = D};
}

void add_main(DType dtype) {
  for (const std::int64_t T : {64, 128, 256, 1024}) add("main", square(dtype, 4, T, 64));
  for (const auto& [T, D] : {std::pair{512, 64}, {2048, 64}, {4096, 64}, {2048, 32}, {2048, 128}}) {
    for (const std::string_view sight : cli::kSights) {
      FocusShape shape = square(dtype, 4, T, D);
      shape.sight = sight;
      add("main", shape);
    }
  }
  for (const std::string_view options : cli::kFocusOptions) {
    FocusShape shape = square(dtype, 4, 2048, 64);
    shape.options = options;
    if (options != "plain") add("main", shape);
  }
  for (const std::string_view sight : {"none", "stats"}) {
    FocusShape grouped = square(dtype, 32, 1024, 64);
    grouped.groups = 8;
    grouped.options = "causal";
    for (FocusShape shape : {square(dtype, 96, 128, 64), square(dtype, 1000, 128, 64), grouped}) {
      shape.sight = sight;
      add("main", shape);
    }
  }
}

void add_grid(DType dtype) {
  for (const std::int64_t D : {32, 64, 128}) {
    for (const std::int64_t T : {64, 128, 256, 512, 1024, 2048, 4096}) {
      for (const std::string_view options : cli::kFocusOptions) {
        for (const std::string_view sight : cli::kSights) {
          for (const std::int64_t heads : {4, 32}) {
            FocusShape shape = square(dtype, heads, T, D);
            shape.groups = heads == 32 ? 8 : heads;
            shape.options = options;
            shape.sight = sight;
            add("grid", shape);
          }
        }
      }
    }
  }
}

void add_scale(DType dtype, const std::string& part) {
  for (const std::string_view sight : {"none", "everything"}) {
    for (const std::int64_t T :
         {std::int64_t{2048}, std::int64_t{8192}, std::int64_t{32768}, kLong}) {
      FocusShape shape = square(dtype, 1, T, 64);
      shape.sight = sight;
      auto* row = benchmark::RegisterBenchmark(
          (part + "/" + shape.name()).c_str(),
          [shape](benchmark::State& state) { scale_row(state, shape); });
      row->UseRealTime()->Unit(benchmark::kMillisecond);
      if (T > 8192)
        row->Iterations(1);
      else
        row->MinTime(0.3);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) add_main(dtype);
  add_scale(DType::kF32, "scale");
  add_scale(DType::kBF16, "long");
  benchmark::RegisterBenchmark("scale/row of 131072", exact_row)
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
  for (const int level : {0, 2}) {
    const std::string name = "scale/tile of 131072, level " + std::to_string(level);
    benchmark::RegisterBenchmark(name.c_str(),
                                 [level](benchmark::State& state) { exact_tile(state, level); })
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
  for (const DType dtype : {DType::kF32, DType::kBF16}) add_grid(dtype);

  // The whole grid takes an hour; it is there for those who name some of it.
  std::vector<char*> words(argv, argv + argc);
  std::string filter = "--benchmark_filter=^(main|scale)/";
  bool filtered = false;
  for (const char* word : words) {
    filtered = filtered || std::string_view(word).substr(0, 18) == "--benchmark_filter";
  }
  if (!filtered) words.push_back(filter.data());
  int count = static_cast<int>(words.size());
  words.push_back(nullptr);
  benchmark::Initialize(&count, words.data());
  if (benchmark::ReportUnrecognizedArguments(count, words.data())) return 2;
  benchmark::RunSpecifiedBenchmarks();
  long_sighting.reset();
  return 0;
}
