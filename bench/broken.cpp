// The broken-head search on trial: one random head of a model is damaged, the search must name it.
//   bench_broken [--results FILE] [--most N] TRIALS MODEL...      TRIALS of each kind of damage for each model
// FILE keeps each trial as it is done: those in it are not run again, at most N new ones are, and files of several runs may
// be joined by cat. The tables are of all trials in it.
// The six kinds are those of doctor/damage.h; of two heads that are exchanged either counts as found.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <map>
#include <random>
#include <string>

#include "doctor/check.h"
#include "doctor/damage.h"
#include "models/network.h"

namespace {

using namespace headscope;
using doctor::Damage;
using doctor::HeadId;
using Clock = std::chrono::steady_clock;

constexpr int kDamages = 6;
constexpr std::array<const char*, kDamages> kNames = {
    "noise", "frozen", "q/k swapped", "exchanged", "scaled by 3", "NaN"};

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
    doctor::harm(tensors, healthy.network().blueprint(), head, damage, other, random);
  };
  const Model broken = Model::load(name, options);
  const HeadId partner = damage == Damage::kExchanged ? HeadId{head.layer, other} : head;
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
