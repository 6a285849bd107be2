// Exact ablation of every head: the sweep against the plain way, one full run a head, in the same program.
//   bench_sweep MODEL [TEXT FILE | TOKENS] [SAMPLE] [EVERY] [ROWS]
// Judged by the loss (or the embedding). Of the plain way only every SAMPLE-th head is run (default 9); its time is scaled
// up, and its results are compared with those of the sweep. The sweep runs on widened and packed matrices; the plain way is
// timed on those, and on the model as it is loaded by default (three heads). With EVERY only every EVERY-th head takes part;
// ROWS of streams go up together (default: as the sweep chooses). What arithmetic alone can save is shown beside it: both
// ways' products with weights, counted.
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <string>

#include "doctor/baseline.h"
#include "headscope/safetensors.h"
#include "models/network.h"
#include "models/widen.h"

namespace {

using namespace headscope;
using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

Tokens read(const Model& model, const std::string& what) {
  const auto tokens = std::strtoll(what.c_str(), nullptr, 10);
  if (tokens <= 0) return model.tokens(read_file(what), nullptr, true);
  Tokens out;
  out.ids = Tensor(DType::kI32, {1, tokens});
  std::uint64_t state = 1;
  for (auto& id : out.ids.span<std::int32_t>()) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    id = static_cast<std::int32_t>((state >> 33) % static_cast<std::uint64_t>(model.vocabulary()));
  }
  return out;
}

// Products of a token with the weights of all layers and of what stands on top.
struct Products {
  double plain = 0.0, swept = 0.0;
};
Products products_of(const Model& model, std::span<const Edit> edits) {
  const models::Blueprint& b = model.network().blueprint();
  const auto C = static_cast<double>(b.width);
  std::vector<double> mlp, layers;
  for (int l = 0; l < model.layers(); ++l) {
    const AttentionWeights& w = model.attention(l);
    const models::MlpFacts& facts = b.layers[static_cast<std::size_t>(l)].mlp;
    const double matrices = facts.form == models::MlpFacts::Form::kPlain ? 2.0 : 3.0;
    const auto wide =
        static_cast<double>((w.heads + w.groups) * w.width + (w.heads + w.groups) * w.value_width);
    mlp.push_back(matrices * C * static_cast<double>(facts.width));
    layers.push_back(C * wide + mlp.back());
  }
  const double top = model.generates() ? C * static_cast<double>(model.vocabulary()) : 0.0;
  Products out;
  for (const Edit& edit : edits) {
    const auto at = static_cast<std::size_t>(edit.layer);
    const AttentionWeights& w = model.attention(edit.layer);
    for (const double layer : layers) out.plain += layer;
    for (std::size_t l = at + 1; l < layers.size(); ++l) out.swept += layers[l];
    out.swept += mlp[at] + C * static_cast<double>(w.heads * w.value_width) + top;
    out.plain += top;
  }
  return out;
}

struct Plain {
  double a_run = 0.0;  // seconds
  std::vector<double> values;
};
Plain run_plainly(const doctor::Baseline& base,
                  std::span<const Edit> edits,
                  const doctor::Judge& by) {
  const auto start = Clock::now();
  Plain out;
  out.values = doctor::sweep_plainly(base, edits, by);
  out.a_run = since(start) / static_cast<double>(edits.size());
  return out;
}

void measure(const std::string& name,
             const std::string& what,
             std::size_t sample,
             std::size_t every,
             std::int64_t rows) {
  LoadOptions wide;
  wide.change = models::widen;
  const Model model = Model::load(name, wide);
  doctor::Judge by;
  if (!model.generates()) by.kind = doctor::Judge::Kind::kEmbedding;
  const auto start = Clock::now();
  const doctor::Baseline base(model, read(model, what));
  std::vector<Edit> edits;
  const auto all_heads = doctor::edit_every_head(base, Edit::Kind::kZero);
  for (std::size_t i = 0; i < all_heads.size(); i += every) edits.push_back(all_heads[i]);
  const auto fast =
      rows > 0 ? doctor::sweep(base, edits, by, {}, rows) : doctor::sweep(base, edits, by);
  const double seconds = since(start);
  std::vector<Edit> some;
  for (std::size_t i = 0; i < edits.size(); i += sample) some.push_back(edits[i]);
  const Plain widened = run_plainly(base, some, by);
  double worst = 0.0;
  for (std::size_t i = 0; i < some.size(); ++i)
    worst = std::max(worst, std::abs(widened.values[i] - fast[i * sample]));
  const Model stored = Model::load(name);
  const doctor::Baseline as_stored(stored, read(stored, what));
  some.resize(std::min<std::size_t>(some.size(), 3));
  const Plain loaded = run_plainly(as_stored, some, by);
  const auto all = static_cast<double>(edits.size());
  const auto T = static_cast<double>(base.rows());
  const Products products = products_of(model, edits);
  fmt::print(
      "{} heads, {} tokens, {}: sweep {:.2f} s; a full run a head {:.2f} s ({:.2f}x), of the model "
      "as it is "
      "loaded by default {:.2f} s ({:.2f}x); worst difference {:.1e}; products with weights: "
      "{:.0f} "
      "and {:.0f} Gflop ({:.2f}x), {:.0f} Gflop/s\n",
      edits.size(),
      base.rows(),
      model.generates() ? "loss" : "embedding",
      seconds,
      all * widened.a_run,
      all * widened.a_run / seconds,
      all * loaded.a_run,
      all * loaded.a_run / seconds,
      worst,
      2e-9 * products.plain * T,
      2e-9 * products.swept * T,
      products.plain / products.swept,
      2e-9 * products.swept * T / seconds);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: bench_sweep MODEL [TEXT FILE | TOKENS] [SAMPLE] [EVERY] [ROWS]\n");
    return 2;
  }
  try {
    const std::string what = argc > 2 ? argv[2] : "16";
    const std::size_t sample =
        argc > 3 ? static_cast<std::size_t>(std::max(1, std::atoi(argv[3]))) : 9;
    const std::size_t every =
        argc > 4 ? static_cast<std::size_t>(std::max(1, std::atoi(argv[4]))) : 1;
    measure(argv[1], what, sample, every, argc > 5 ? std::atoll(argv[5]) : 0);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
