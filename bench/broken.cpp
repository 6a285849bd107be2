// The broken-head search on trial: one random head of a model is damaged, the search must name it.
//   bench_broken TRIALS MODEL...      TRIALS of each kind of damage for each model
// Six kinds: its weights are noise of the same scale; its output is frozen; q and k are swapped; it is exchanged with
// another head of its layer (either counts as found); what it writes is scaled by 3; its queries are NaN. Where heads share
// keys and values, those stay and its queries alone are damaged (swapped: it asks with its group's key map).
#include <fmt/format.h>

#include <array>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <deque>
#include <limits>
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

struct Hits {
  int n = 0, harmless = 0, first = 0, third = 0, alone_first = 0, alone_third = 0;
  double seconds = 0.0;
  void add(const Hits& h) {
    n += h.n, harmless += h.harmless, first += h.first, third += h.third;
    alone_first += h.alone_first, alone_third += h.alone_third, seconds += h.seconds;
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
    std::fflush(stdout);
  }
};

// Place of the head (or its partner) in the ranking, from 0.
int place(const doctor::Checkup& found, HeadId head, HeadId partner) {
  for (std::size_t i = 0; i < found.suspects.size(); ++i) {
    const HeadId id = found.suspects[i].head;
    if (id == head || id == partner) return static_cast<int>(i);
  }
  return 1 << 20;
}

Hits trial(const std::string& name,
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
  Hits out;
  out.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (found.suspects.empty() && found.damage < 1e-6) {  // to swap equal matrices harms nobody
    out.harmless = 1;
    return out;
  }
  const int at = place(found, head, partner);
  const int alone = place(doctor::check(broken, texts), head, partner);
  out.n = 1;
  out.first = at == 0;
  out.third = at < 3;
  out.alone_first = alone == 0;
  out.alone_third = alone < 3;
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: bench_broken TRIALS MODEL...\n");
    return 2;
  }
  std::mt19937_64 random(2026);
  std::array<Hits, kDamages> by_damage;
  Hits all;
  fmt::print("{:28} {:>5}  {:>17}   {:>17}  {:>10}\n",
             "",
             "n",
             "reference: 1, 3",
             "alone: 1, 3",
             "a search");
  for (int m = 2; m < argc; ++m) {
    try {
      const Model healthy = Model::load(argv[m]);
      const auto texts = read(healthy, has_words(healthy));
      const doctor::Checkup alarms = doctor::check(healthy, texts);
      int loud = 0;
      for (const auto& s : alarms.suspects) loud += s.score >= doctor::kStandsOut;
      Hits hits;
      for (int d = 0; d < kDamages; ++d) {
        for (int n = 0; n < std::atoi(argv[1]); ++n) {
          const Hits one = trial(argv[m], healthy, texts, static_cast<Damage>(d), random);
          hits.add(one);
          by_damage[static_cast<std::size_t>(d)].add(one);
        }
      }
      hits.print(healthy.name());
      if (hits.harmless > 0)
        fmt::print("{:28} not counted, no number changed: {}\n", "", hits.harmless);
      fmt::print(
          "{:28} false alarms when healthy: {} of {} heads\n", "", loud, alarms.suspects.size());
      all.add(hits);
    } catch (const std::exception& error) {
      fmt::print(stderr, "{}: {}\n", argv[m], error.what());
      return 1;
    }
  }
  for (std::size_t d = 0; d < kDamages; ++d) by_damage[d].print(kNames[d]);
  all.print("all");
  return 0;
}
