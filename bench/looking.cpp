// What looking costs: the same call blind, with statistics and with everything recorded, the three taking turns, so that
// neighbours and clocks disturb all alike. Best of 40 runs each.
//   build/release/bench/looking [--threads N]
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "cli/bench_case.h"
#include "headscope/threads.h"
#include "kernels/measure.h"

namespace {

using namespace headscope;
using cli::FocusCase;
using cli::FocusShape;

constexpr int kRuns = 40;

double seconds(FocusCase& call) {
  const auto start = std::chrono::steady_clock::now();
  call.run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void row(FocusShape shape) {
  std::array<std::unique_ptr<FocusCase>, std::size(cli::kSights)> calls;
  std::array<double, std::size(cli::kSights)> best{};
  for (std::size_t w = 0; w < std::size(cli::kSights); ++w) {
    shape.sight = cli::kSights[w];
    calls[w] = std::make_unique<FocusCase>(shape);
    calls[w]->run();
    best[w] = 1e9;
  }
  double peak = 0.0;
  for (int n = 0; n < kRuns; ++n) {
    if (n % 10 == 0) peak = std::max(peak, kernels::peak_flops(shape.dtype).per_second);
    for (std::size_t w = 0; w < std::size(cli::kSights); ++w)
      best[w] = std::min(best[w], seconds(*calls[w]));
  }
  shape.sight = "none";
  std::fputs(fmt::format("| {} | {:.2f} ms | {:.2f} | {:+.1f} % | {:+.1f} % | {:+.1f} % |\n",
                         shape.name(),
                         best[0] * 1e3,
                         calls[0]->flop() / best[0] / peak,
                         (best[1] / best[0] - 1.0) * 100.0,
                         (best[2] / best[0] - 1.0) * 100.0,
                         (best[3] / best[0] - 1.0) * 100.0)
                 .c_str(),
             stdout);
  std::fflush(stdout);
}

}  // namespace

int main(int count, char** words) {
  if (count == 3 && std::string_view(words[1]) == "--threads") set_threads(std::atoi(words[2]));
  std::fputs(fmt::format(
                 "{} threads; maps: top-8, column mass, 64 x 64 map; everything: q and k kept too\n"
                 "| heads x T x D | blind | share of the peak | statistics | maps | everything |\n"
                 "|---|---|---|---|---|---|\n",
                 threads())
                 .c_str(),
             stdout);
  for (const std::int64_t T : {512, 2048, 4096})
    row({.heads = 4, .groups = 4, .rows = T, .keys = T});
  row({.heads = 4, .groups = 4, .rows = 2048, .keys = 2048, .width = 128});
  row({.heads = 96, .groups = 96, .rows = 128, .keys = 128});
  return 0;
}
