// A whole model seen against the same model blind, and against storing every attention map.
//   build/release/bench/see MODEL [TOKENS...]
// Times are the best of 25 with the ways taking turns; peak memory is that of a process of its own.
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "headscope/linear.h"
#include "headscope/model.h"
#include "headscope/threads.h"

namespace {

using namespace headscope;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Tokens tokens_of(const Model& model, std::int64_t n) {
  Tokens t;
  t.ids = Tensor(DType::kI32, {1, n});
  for (std::int64_t i = 0; i < n; ++i) {
    t.ids.span<std::int32_t>()[static_cast<std::size_t>(i)] =
        static_cast<std::int32_t>((i * 7919 + 1000) % model.tokenizer().vocabulary_size());
  }
  return t;
}

// What everyone pays to look: scores of a head by one product, softmax, all of it kept, second
// product.
void materialise(const AttentionTrace& trace, Tensor& maps) {
  const auto q = trace.q.view<float, 4>();
  const auto k = trace.k.view<float, 4>();
  const auto v = trace.v.view<float, 4>();
  const std::int64_t H = q.shape[1];
  const std::int64_t T = q.shape[2];
  const std::int64_t D = q.shape[3];
  const float scale = trace.options.scale.value_or(1.0F);
  parallel_for(H, [&](std::int64_t h) {
    const AnyView keys{DType::kF32, {T, D}, reinterpret_cast<const std::byte*>(k[0][h].data)};
    const AnyView values{DType::kF32, {T, D}, reinterpret_cast<const std::byte*>(v[0][h].data)};
    const View<float, 2> map(maps.span<float>().data() + h * T * T, {T, T});
    Linear{keys}(View<const float, 2>(q[0][h].data, {T, D}), map);
    for (std::int64_t i = 0; i < T; ++i) {
      float* row = &map(i, 0);
      float most = row[0];
      for (std::int64_t j = 1; j < T; ++j) most = std::max(most, row[j]);
      float sum = 0.0F;
      for (std::int64_t j = 0; j < T; ++j) sum += row[j] = std::exp(scale * (row[j] - most));
      for (std::int64_t j = 0; j < T; ++j) row[j] /= sum;
    }
    Tensor out(DType::kF32, {T, D});
    Linear(values, {}, Linear::Layout::kInOut)(map, out.view<float, 2>());
  });
}

// One run, seconds. A run that stores maps is the blind run, its focus exchanged for `materialise`.
double once(const Model& model, const Tokens& tokens, const std::string& way) {
  RunOptions options;
  options.outputs = false;
  const Sight sight = Sight::everything();
  if (way == "seen") options.sight = &sight;
  Sight stats;
  if (way == "stats") options.sight = &stats;
  const double start = now();
  Run run = model.run(tokens, options);
  double took = now() - start;
  if (way != "maps") return took;
  std::vector<Tensor> kept;
  const std::int64_t T = tokens.ids.dim(1);
  for (int layer = 0; layer < model.layers(); ++layer) {
    options.trace_layers = {layer};
    const Run traced = model.run(tokens, options);
    const AttentionTrace& trace = traced.traces[0];
    Tensor out(DType::kF32, trace.z.shape());
    const double before = now();
    focus({trace.q.view<float, 4>(), trace.k.view<float, 4>(), trace.v.view<float, 4>(), {}},
          {out.view<float, 4>(), {}});
    const double middle = now();
    Tensor maps(DType::kF32, {model.heads(), T, T});
    materialise(trace, maps);
    kept.push_back(std::move(maps));
    took += (now() - middle) - (middle - before);
  }
  return took;
}

// Peak memory of a process that does nothing else than run this way twice.
double megabytes(const std::string& name, std::int64_t n, const std::string& way) {
  int ends[2];
  if (pipe(ends) != 0) return 0.0;
  const pid_t child = fork();
  if (child == 0) {
    const Model model = Model::load(name);
    const Tokens tokens = tokens_of(model, n);
    for (int r = 0; r < 2; ++r) (void)once(model, tokens, way);
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const double peak = static_cast<double>(usage.ru_maxrss) / 1024.0;
    _exit(write(ends[1], &peak, sizeof(peak)) == sizeof(peak) ? 0 : 1);
  }
  close(ends[1]);
  double peak = 0.0;
  if (read(ends[0], &peak, sizeof(peak)) != sizeof(peak)) peak = 0.0;
  close(ends[0]);
  waitpid(child, nullptr, 0);
  return peak;
}

// Best of many runs of every way, the ways taking turns: neighbours disturb all of them alike.
std::vector<double> best(const std::string& name,
                         std::int64_t n,
                         const std::vector<std::string>& ways) {
  const Model model = Model::load(name);
  const Tokens tokens = tokens_of(model, n);
  std::vector<double> least(ways.size(), 1e30);
  for (int round = 0; round < 25; ++round) {
    for (std::size_t w = 0; w < ways.size(); ++w)
      least[w] = std::min(least[w], once(model, tokens, ways[w]));
  }
  return least;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fputs(
        "usage: see MODEL [TOKENS...], for example: see ../shared/models/minilm-l6 128 512\n",
        stderr);
    return 2;
  }
  std::vector<std::int64_t> lengths;
  for (int i = 2; i < argc; ++i) lengths.push_back(std::atoll(argv[i]));
  if (lengths.empty()) lengths = {128, 512};
  fmt::print("{:>7}  {:<28} {:>9} {:>8} {:>9}\n", "tokens", "way", "ms", "ratio", "peak MB");
  std::fflush(stdout);
  const std::vector<std::string> ways{"blind", "stats", "seen", "maps"};
  const std::vector<std::string> words{
      "blind", "row statistics", "everything, q and k kept", "every map stored"};
  for (std::int64_t n : lengths) {
    // Memory first: a process forked after threads have run has none of them.
    std::vector<double> peaks;
    for (const std::string& way : ways) peaks.push_back(megabytes(argv[1], n, way));
    const pid_t child = fork();
    if (child == 0) {
      const std::vector<double> times = best(argv[1], n, ways);
      for (std::size_t w = 0; w < ways.size(); ++w) {
        fmt::print("{:>7}  {:<28} {:>9.1f} {:>7.2f}x {:>9.0f}\n",
                   n,
                   words[w],
                   times[w] * 1e3,
                   times[w] / times[0],
                   peaks[w]);
      }
      std::fflush(stdout);
      _exit(0);
    }
    waitpid(child, nullptr, 0);
  }
  return 0;
}
