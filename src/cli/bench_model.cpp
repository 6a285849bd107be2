#include "cli/bench_model.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <vector>

#include "cli/json_writer.h"
#include "cli/progress.h"
#include "cli/subject.h"
#include "headscope/error.h"
#include "headscope/generate.h"
#include "headscope/threads.h"

namespace headscope::cli {

namespace {

constexpr int kRuns = 3;
constexpr std::int64_t kDecoded = 32;

struct Row {
  std::string name;          // prefill, decode
  std::int64_t tokens = 0;   // that were timed
  std::int64_t context = 0;  // tokens that were in before
  double tokens_per_second = 0.0;
  double resident_mbytes = 0.0;
};

double resident_mbytes() {
  std::ifstream file("/proc/self/statm");
  double pages = 0.0;
  double resident = 0.0;
  file >> pages >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE)) / 1e6;
}

// Tokens that no text would have, but that cost what others cost.
std::vector<std::int32_t> prompt_of(const Model& model, std::int64_t count, int run) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  std::uint64_t state = 88172645463325252ULL + static_cast<std::uint64_t>(run);
  for (std::int32_t& id : ids) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    id = static_cast<std::int32_t>(state % static_cast<std::uint64_t>(model.vocabulary()));
  }
  return ids;
}

// Median of kRuns, in tokens per second; `ready` is not timed.
template <typename Ready, typename Body>
double rate(std::int64_t tokens, Ready&& ready, Body&& body) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> seconds;
  for (int n = 0; n < kRuns; ++n) {
    ready(n);
    const auto start = Clock::now();
    body(n);
    seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + kRuns / 2, seconds.end());
  return static_cast<double>(tokens) / seconds[kRuns / 2];
}

GenerateOptions options_of(const Model& model, std::int64_t positions, DType cache) {
  GenerateOptions options;
  options.cache = cache;
  options.positions = std::min(positions, model.positions());
  options.most = kDecoded + 1;
  options.stop_at_end = false;
  return options;
}

Row prefill(const Model& model, std::int64_t tokens, DType cache) {
  Generator generator(model, options_of(model, tokens, cache));
  const double per_second = rate(
      tokens, [](int) {}, [&](int run) { generator.read(prompt_of(model, tokens, run)); });
  return {"prefill", tokens, 0, per_second, resident_mbytes()};
}

Row decode(const Model& model, std::int64_t context, DType cache) {
  Generator generator(model, options_of(model, context + kDecoded + 1, cache));
  const auto ready = [&](int) {
    generator.read(prompt_of(model, context, 0));
    (void)generator.step();  // Takes what the prompt foretold; nothing is run.
  };
  const double per_second = rate(kDecoded, ready, [&](int) {
    for (std::int64_t n = 0; n < kDecoded; ++n) (void)generator.step();
  });
  return {"decode", kDecoded, context, per_second, resident_mbytes()};
}

}  // namespace

void bench_model(
    const Call& call, const std::string& name, bool quick, DType cache, std::string& out) {
  check_model(call, name);
  const Model model = Model::load(name, Linear::Compute::kFast);
  if (!model.generates() || model.encoder_layers() > 0) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[bench] expected a decoder, whose prefill and decode are timed, found "
                            "{}, {} of family {}",
                            clean(model.name()),
                            model.encoder_layers() > 0 ? "an encoder-decoder" : "an encoder",
                            clean(model.family())));
  }
  std::vector<Row> rows;
  Progress progress(call.screen.lang, say(call.screen.lang, Word::kRunning, clean(model.name())));
  for (const std::int64_t tokens : {128, 512, 2048}) {
    if (tokens <= model.positions() && (!quick || tokens == 128))
      rows.push_back(prefill(model, tokens, cache));
  }
  for (const std::int64_t context : {16, 1024}) {
    if (context + kDecoded < model.positions() && (!quick || context == 16))
      rows.push_back(decode(model, context, cache));
  }
  if (call.json) {
    JsonWriter json;
    json.begin_array();
    for (const Row& row : rows) {
      json.begin_object().field("model", model.name()).field("name", row.name);
      json.field("cache", headscope::name(cache));
      json.field("threads", threads()).field("tokens", row.tokens);
      json.field("context", row.context).field("tokens_per_second", row.tokens_per_second);
      json.field("resident_mbytes", row.resident_mbytes).end_object();
    }
    json.end_array();
    out += std::move(json).take();
    return;
  }
  out += say(call.screen.lang,
             Word::kBenchModelNote,
             clean(model.name()),
             threads(),
             kRuns,
             headscope::name(cache)) +
         '\n';
  for (const Row& row : rows) {
    out += fmt::format("  {:<8}{:>6} +{:<5} {:>8} tok/s {:>8.0f} MB\n",
                       row.name,
                       row.context,
                       row.tokens,
                       figure(row.tokens_per_second),
                       row.resident_mbytes);
  }
}

}  // namespace headscope::cli
