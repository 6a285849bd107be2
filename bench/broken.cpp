// The broken-head search on trial: one random head of a model is damaged, the search must name it.
//   bench_broken [--results FILE] [--most N] TRIALS MODEL...      TRIALS of each kind of damage for each model
// FILE keeps each trial as it is done: those in it are not run again, at most N new ones are, and files of several runs may
// be joined by cat. The tables are of all trials in it.
// Six kinds: its weights are noise of the same scale; its output is frozen; q and k are swapped; it is exchanged with
// another head of its layer (either counts as found); what it writes is scaled by 3; its queries are NaN. Where heads share
// keys and values, those stay and its queries alone are damaged (swapped: it asks with its group's key map).
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <limits>
#include <map>
#include <random>
#include <string>

#include "doctor/check.h"
#include "models/network.h"
#include "models/weights.h"

namespace {

using namespace headscope;
using doctor::HeadId;
using Clock = std::chrono::steady_clock;

enum Damage { kNoise, kFrozen, kSwapped, kExchanged, kScaled, kNan, kDamages };
constexpr std::array kNames = {"noise", "frozen", "q/k swapped", "exchanged", "scaled by 3", "NaN"};

// The matrices of one attention, as f32 copies that take the place of the file's.
class Layer {
 public:
  Layer(models::Tensors& tensors, const models::Blueprint& b, int layer)
      : facts_(b.layers.at(static_cast<std::size_t>(layer)).attention) {
    const std::string& prefix = b.layers[static_cast<std::size_t>(layer)].prefix;
    if (facts_.layout != models::QkvLayout::kSeparate ||
        b.matrices != headscope::Linear::Layout::kOutIn)
      throw Error(ErrorCode::kUnsupported,
                  "[broken] expected separate query, key and value matrices");
    struct Kept {
      std::shared_ptr<const void> before;
      std::deque<Tensor> made;
    };
    auto kept = std::make_shared<Kept>();
    kept->before = tensors.owner;
    const auto take = [&](const std::string& name) {
      std::vector<std::string> prefixes = b.prefixes;
      prefixes.emplace_back();
      for (const std::string& p : prefixes) {
        const auto at = tensors.by_name.find(p + prefix + name + ".weight");
        if (at == tensors.by_name.end()) continue;
        kept->made.push_back(Tensor::f32_from(at->second));
        at->second = kept->made.back().any();
        return kept->made.back().view<float, 2>();
      }
      throw Error(ErrorCode::kNotFound, "[broken] expected " + prefix + name);
    };
    q = take(facts_.query);
    k = take(facts_.key);
    v = take(facts_.value);
    o = take(facts_.output);
    tensors.owner = std::move(kept);
  }

  [[nodiscard]] bool shares() const { return facts_.groups != facts_.heads; }
  [[nodiscard]] std::int64_t group(int h) const { return h / (facts_.heads / facts_.groups); }
  [[nodiscard]] std::int64_t width() const { return facts_.width; }
  [[nodiscard]] std::int64_t value_width() const { return facts_.value_width; }
  /// f(number) over rows [n * width, ...) of a matrix, or columns.
  template <typename F>
  static void rows(View<float, 2> m, std::int64_t n, std::int64_t width, F&& f) {
    for (std::int64_t i = n * width; i < (n + 1) * width; ++i) {
      for (std::int64_t c = 0; c < m.shape[1]; ++c) f(m(i, c));
    }
  }
  template <typename F>
  static void columns(View<float, 2> m, std::int64_t n, std::int64_t width, F&& f) {
    for (std::int64_t i = 0; i < m.shape[0]; ++i) {
      for (std::int64_t c = n * width; c < (n + 1) * width; ++c) f(m(i, c));
    }
  }
  static void swap_rows(
      View<float, 2> a, std::int64_t n, View<float, 2> b, std::int64_t m, std::int64_t width) {
    for (std::int64_t i = 0; i < width; ++i) {
      for (std::int64_t c = 0; c < a.shape[1]; ++c)
        std::swap(a(n * width + i, c), b(m * width + i, c));
    }
  }

  View<float, 2> q, k, v, o;

 private:
  const models::AttentionFacts& facts_;
};

template <typename Walk>
void to_noise(Walk&& walk, std::mt19937_64& random) {
  double square = 0.0;
  std::int64_t n = 0;
  walk([&](float& x) { square += static_cast<double>(x) * static_cast<double>(x), ++n; });
  std::normal_distribution<float> normal(
      0.0F, static_cast<float>(std::sqrt(square / static_cast<double>(n))));
  walk([&](float& x) { x = normal(random); });
}

void harm(Layer& l, Damage damage, int h, int other, std::mt19937_64& random) {
  const std::int64_t D = l.width(), Dv = l.value_width();
  const auto noise = [&](View<float, 2> m, bool rows, std::int64_t width) {
    to_noise([&](auto&& f) { rows ? Layer::rows(m, h, width, f) : Layer::columns(m, h, width, f); },
             random);
  };
  switch (damage) {
    case kNoise:
      noise(l.q, true, D);
      if (!l.shares()) noise(l.k, true, D), noise(l.v, true, Dv);
      noise(l.o, false, Dv);
      break;
    case kFrozen:
      if (l.shares())
        Layer::columns(l.o, h, Dv, [](float& x) { x = 0.0F; });
      else
        Layer::rows(l.v, h, Dv, [](float& x) { x = 0.0F; });
      break;
    case kSwapped:
      if (!l.shares()) {
        Layer::swap_rows(l.q, h, l.k, h, D);
        break;
      }
      for (std::int64_t i = 0; i < D; ++i) {
        for (std::int64_t c = 0; c < l.q.shape[1]; ++c)
          l.q(h * D + i, c) = l.k(l.group(h) * D + i, c);
      }
      break;
    case kExchanged:
      Layer::swap_rows(l.q, h, l.q, other, D);
      if (!l.shares())
        Layer::swap_rows(l.k, h, l.k, other, D), Layer::swap_rows(l.v, h, l.v, other, Dv);
      break;
    case kScaled:
      Layer::columns(l.o, h, Dv, [](float& x) { x *= 3.0F; });
      break;
    default:
      Layer::rows(l.q, h, D, [](float& x) { x = std::numeric_limits<float>::quiet_NaN(); });
  }
}

std::vector<Tokens> read(const Model& model, bool words) {
  std::vector<Tokens> out(1);
  if (words) {
    out[0] = model.tokens(
        "The old king gave the young prince a sharp sword, and the prince gave the sword to the "
        "old king. "
        "Nobody saw the king again, but the sword was seen in the house of the young prince.");
    return out;
  }
  out[0].ids = Tensor(DType::kI32, {1, 24});
  std::mt19937_64 random(5);
  for (auto& id : out[0].ids.span<std::int32_t>())
    id = static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(model.vocabulary()));
  return out;
}

bool has_words(const Model& model) {
  try {
    return model.tokenizer().vocabulary_size() > 0;
  } catch (const Error&) {
    return false;
  }
}

// One trial: a line of the file of results, "model damage n outcome seconds".
struct Outcome {
  enum Kind : unsigned { kHarmless = 1, kFirst = 2, kThird = 4, kAloneFirst = 8, kAloneThird = 16 };
  unsigned kinds = 0;
  double seconds = 0.0;
};

struct Hits {
  int n = 0, harmless = 0, first = 0, third = 0, alone_first = 0, alone_third = 0;
  double seconds = 0.0;
  void add(const Outcome& one) {
    const auto is = [&](unsigned kind) { return (one.kinds & kind) != 0 ? 1 : 0; };
    harmless += is(Outcome::kHarmless);
    if (is(Outcome::kHarmless) != 0) return;
    ++n, seconds += one.seconds;
    first += is(Outcome::kFirst), third += is(Outcome::kThird);
    alone_first += is(Outcome::kAloneFirst), alone_third += is(Outcome::kAloneThird);
  }
  void print(const std::string& name) const {
    const auto share = [&](int x) { return 100.0 * x / std::max(1, n); };
    fmt::print("{:28} {:5}  {:6.1f} % {:6.1f} %   {:6.1f} % {:6.1f} %  {:8.2f} s\n",
               name,
               n,
               share(first),
               share(third),
               share(alone_first),
               share(alone_third),
               seconds / std::max(1, n));
    if (harmless > 0) fmt::print("{:28} not counted, no number changed: {}\n", "", harmless);
    std::fflush(stdout);
  }
};

struct Key {
  std::string model;
  int damage = 0, n = 0;
  friend auto operator<=>(const Key&, const Key&) = default;

  // A trial's chances are its own: neither the order of trials nor which of them are run changes one.
  [[nodiscard]] std::uint64_t seed() const {
    std::uint64_t out = 1469598103934665603ULL;
    const auto mix = [&](std::uint64_t x) { out = (out ^ x) * 1099511628211ULL; };
    for (const char c : model) mix(static_cast<unsigned char>(c));
    mix(static_cast<std::uint64_t>(damage) + 1000), mix(static_cast<std::uint64_t>(n) + 2000);
    return out;
  }
};

// Trials that are done, in a file that later runs go on with and that files of other runs may be joined to.
class Results {
 public:
  explicit Results(std::string path) : path_(std::move(path)) {
    if (path_.empty()) return;
    std::ifstream file(path_);
    Key key;
    Outcome one;
    while (file >> key.model >> key.damage >> key.n >> one.kinds >> one.seconds) done_[key] = one;
    if (!file.eof() && file.is_open())
      throw Error(ErrorCode::kFormat, "[broken] expected lines of trials, found others: " + path_);
  }
  [[nodiscard]] bool has(const Key& key) const { return done_.contains(key); }
  void add(const Key& key, const Outcome& one) {
    done_[key] = one;
    if (path_.empty()) return;
    std::ofstream file(path_, std::ios::app);
    file << fmt::format(
        "{} {} {} {} {:.4f}\n", key.model, key.damage, key.n, one.kinds, one.seconds);
    if (!file.flush()) throw Error(ErrorCode::kIo, "[broken] expected a file to write: " + path_);
  }
  void print() const {
    std::map<std::string, Hits> by_model;
    std::array<Hits, kDamages> by_damage;
    Hits all;
    for (const auto& [key, one] : done_) {
      by_model[key.model].add(one);
      by_damage.at(static_cast<std::size_t>(key.damage)).add(one);
      all.add(one);
    }
    fmt::print("{:28} {:>5}  {:>17}   {:>17}  {:>10}\n",
               "",
               "n",
               "reference: 1, 3",
               "alone: 1, 3",
               "a search");
    for (const auto& [model, hits] : by_model) hits.print(model);
    for (std::size_t d = 0; d < kDamages; ++d) by_damage[d].print(kNames[d]);
    all.print("all");
  }

 private:
  std::string path_;
  std::map<Key, Outcome> done_;
};

// Place of the head (or its partner) in the ranking, from 0.
int place(const doctor::Checkup& found, HeadId head, HeadId partner) {
  for (std::size_t i = 0; i < found.suspects.size(); ++i) {
    const HeadId id = found.suspects[i].head;
    if (id == head || id == partner) return static_cast<int>(i);
  }
  return 1 << 20;
}

Outcome trial(const std::string& name,
              const Model& healthy,
              std::span<const Tokens> texts,
              Damage damage,
              std::mt19937_64& random) {
  const auto heads = doctor::heads_of(healthy);
  const HeadId head = heads[random() % heads.size()];
  const int H = healthy.heads(head.layer);
  const int other =
      (head.head + 1 + static_cast<int>(random() % static_cast<std::uint64_t>(H - 1))) % H;
  LoadOptions options;
  options.change = [&](models::Tensors& tensors) {
    Layer layer(tensors, healthy.network().blueprint(), head.layer);
    harm(layer, damage, head.head, other, random);
  };
  const Model broken = Model::load(name, options);
  const HeadId partner = damage == kExchanged ? HeadId{head.layer, other} : head;
  const auto start = Clock::now();
  const doctor::Checkup found = doctor::check(broken, healthy, texts);
  Outcome out;
  out.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (found.suspects.empty() && found.damage < 1e-6) {  // to swap equal matrices harms nobody
    out.kinds = Outcome::kHarmless;
    return out;
  }
  const int at = place(found, head, partner);
  const int alone = place(doctor::check(broken, texts), head, partner);
  const auto put = [&](bool is, unsigned kind) { out.kinds |= is ? kind : 0U; };
  put(at == 0, Outcome::kFirst), put(at < 3, Outcome::kThird);
  put(alone == 0, Outcome::kAloneFirst), put(alone < 3, Outcome::kAloneThird);
  return out;
}

// Of TRIALS of each damage those that `results` lacks, but no more than `most`. Returns how many were run.
int run_trials(const std::string& name, int trials, int most, Results& results) {
  const Model healthy = Model::load(name);
  const auto texts = read(healthy, has_words(healthy));
  const doctor::Checkup alarms = doctor::check(healthy, texts);
  int loud = 0, run = 0;
  for (const auto& s : alarms.suspects) loud += s.score >= doctor::kStandsOut;
  fmt::print("{:28} false alarms when healthy: {} of {} heads\n",
             healthy.name(),
             loud,
             alarms.suspects.size());
  std::string word = healthy.name();  // one, in the file
  std::ranges::replace(word, ' ', '_');
  for (int n = 0; n < trials; ++n) {
    for (int d = 0; d < kDamages; ++d) {
      const Key key{word, d, n};
      if (run >= most || results.has(key)) continue;
      std::mt19937_64 random(key.seed());
      results.add(key, trial(name, healthy, texts, static_cast<Damage>(d), random));
      ++run;
    }
  }
  return run;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  std::string path;
  int most = std::numeric_limits<int>::max();
  while (words.size() >= 2 && words[0].starts_with("--")) {
    if (words[0] == "--results") path = words[1];
    if (words[0] == "--most") most = std::atoi(words[1].c_str());
    words.erase(words.begin(), words.begin() + 2);
  }
  if (words.size() < 2) {
    fmt::print(stderr, "usage: bench_broken [--results FILE] [--most N] TRIALS MODEL...\n");
    return 2;
  }
  try {
    Results results(path);
    for (std::size_t m = 1; m < words.size(); ++m)
      most -= run_trials(words[m], std::atoi(words[0].c_str()), most, results);
    results.print();
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
