#include "kernels/measure.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "architect/plan.h"
#include "headscope/error.h"
#include "headscope/model.h"
#include "headscope/train.h"
#include "models/model_files.h"
#include "models/resized.h"
#include "models/transformer.h"

namespace headscope::architect {

namespace {

constexpr std::int64_t kBlock = 512;  // rows of a prompt that are read at once, as Generator does
/// Weights and keys of so many bytes do not stay in a cache between two runs over them.
constexpr double kBeyondCaches = 160e6;
/// Numbers of a run that is worth timing: more says nothing new.
constexpr double kFlop = 30e9;

/// Median of the seconds of warm runs: the first one, which takes memory, never counts.
template <typename Body>
double timed(Body&& body, double seconds, int most) {
  body();
  return kernels::median_seconds(body, {.seconds = seconds, .least = 3, .most = most});
}

std::uint64_t free_memory() {
  const auto pages = static_cast<std::uint64_t>(std::max(0L, ::sysconf(_SC_AVPHYS_PAGES)));
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

Tensor token_ids(std::int64_t B, std::int64_t T, std::int64_t vocabulary) {
  Tensor ids(DType::kI32, {B, T});
  std::uint64_t state = 88172645463325252ULL;
  for (std::int32_t& id : ids.span<std::int32_t>()) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    id = static_cast<std::int32_t>(state % static_cast<std::uint64_t>(vocabulary));
  }
  return ids;
}

/// What layers must have in common to take equal time.
auto kind_of(const models::LayerFacts& layer) {
  const models::AttentionFacts& a = layer.attention;
  const auto& e = layer.mlp.experts;
  return std::tuple(a.heads,
                    a.groups,
                    a.width,
                    a.value_width,
                    a.window_left,
                    a.window_right,
                    static_cast<int>(a.rope.style),
                    layer.mlp.width,
                    e ? e->count : 0,
                    e ? e->chosen : 0,
                    e ? e->width : 0);
}

/// Layers of one kind, as many as are timed together.
struct Kind {
  std::vector<models::LayerFacts> facts;
  std::int64_t count = 0;
};

std::vector<Kind> kinds_of(const models::Blueprint& b) {
  std::map<decltype(kind_of(b.layers.front())), Kind> kinds;
  for (const models::LayerFacts& layer : b.layers) {
    Kind& kind = kinds[kind_of(layer)];
    kind.facts.push_back(layer);
    ++kind.count;
  }
  std::vector<Kind> out;
  for (auto& [key, kind] : kinds) out.push_back(std::move(kind));
  return out;
}

/// A model of a few layers of one kind, which runs with caches as full as is wanted.
class Probe {
 public:
  Probe(const Draft& draft, const models::Blueprint& whole, Kind kind, std::uint64_t memory)
      : draft_(draft) {
    models::Blueprint b = whole;
    const std::string architecture = models::architecture_of(draft.config);
    b.layers = {kind.facts.front()};
    const models::Census one = census_of(b, draft);
    b.layers.clear();
    const models::Census none = census_of(b, draft);
    const auto bytes = [&](const models::Census& c) {
      return static_cast<double>(c.bytes(draft.dtype));
    };
    const models::AttentionFacts& a = kind.facts.front().attention;
    causal_ = a.causal;
    const double cached = !causal_ ? 0.0
                                   : static_cast<double>(draft.batch * draft.context * a.groups *
                                                         (a.width + a.value_width)) *
                                         static_cast<double>(size_of(draft.cache));
    const double each = bytes(one) - bytes(none) + cached;
    flop_ = 2.0 * (one.products - none.products);
    layers_ =
        std::clamp<std::int64_t>(std::llround(std::ceil(kBeyondCaches / each)), 1, kind.count);
    // f32 is packed beside what was drawn.
    const auto needs = [&](std::int64_t n) {
      const double twice =
          draft.dtype == DType::kF32 || b.matrices == Linear::Layout::kInOut ? 2.0 : 1.0;
      return twice * (bytes(none) + (bytes(one) - bytes(none)) * static_cast<double>(n)) +
             cached * static_cast<double>(n);
    };
    while (layers_ > 1 && needs(layers_) > static_cast<double>(memory)) --layers_;
    if (needs(1) > static_cast<double>(memory)) {
      throw Error(
          ErrorCode::kResources,
          fmt::format("[measure] expected {:.1f} GB of memory for one layer and what stands "
                      "on top, found {:.1f} GB; --no-measure leaves it out",
                      needs(1) / 1e9,
                      static_cast<double>(memory) / 1e9));
    }
    kind.facts.resize(static_cast<std::size_t>(layers_));
    b.layers = std::move(kind.facts);
    const models::Census census = census_of(b, draft);
    models::Tensors tensors = models::drawn(census, draft.dtype, b.matrices);
    tensors.compute = Linear::Compute::kFast;
    model_.emplace(std::move(b), std::move(tensors), architecture);
  }

  [[nodiscard]] std::int64_t layers() const { return layers_; }

  /// Rows that stand for a block: so few that a run is short.
  [[nodiscard]] std::int64_t rows(std::int64_t block) const {
    const double all = flop_ * static_cast<double>(layers_ * block);
    if (all < kFlop || block <= 128) return block;
    const auto n = static_cast<std::int64_t>(static_cast<double>(block) * kFlop / all);
    return std::clamp<std::int64_t>(n / 128 * 128, 128, block);
  }

  /// Seconds of `T` rows of each of `B` sequences behind `before` tokens.
  [[nodiscard]] double run(std::int64_t B, std::int64_t T, std::int64_t before, double seconds) {
    Tokens tokens;
    tokens.ids = token_ids(B, T, model_->blueprint().vocabulary);
    RunOptions options;
    options.logits_rows = 1;
    std::vector<KvCache> caches;
    if (causal_) {
      // A window moves on: room for as many runs as there may be.
      for (std::int64_t n = 0; n < B; ++n) {
        caches.push_back(model_->cache(draft_.cache, before + kMostRuns * T));
        fill(caches.back(), before);
      }
    }
    for (KvCache& cache : caches) options.caches.push_back(&cache);
    const auto body = [&] {
      for (KvCache& cache : caches) back(cache, before);
      (void)model_->run(tokens, options);
    };
    return timed(body, seconds, static_cast<int>(kMostRuns) - 2);
  }

  /// Seconds of what stands on top, for one row of each sequence of T.
  [[nodiscard]] double top(std::int64_t B, std::int64_t T, double seconds) const {
    Tokens tokens;
    tokens.ids = token_ids(B, T, model_->blueprint().vocabulary);
    Tensor x = Tensor::zeros(DType::kF32, {B, T, model_->blueprint().width});
    for (std::size_t i = 0; i < x.span<float>().size(); ++i)
      x.span<float>()[i] = static_cast<float>(i % 17) * 0.1F - 0.8F;
    const Resume resume{.layer = static_cast<int>(layers_), .x = &x};
    RunOptions options;
    options.resume = &resume;
    options.logits_rows = 1;
    return timed([&] { (void)model_->run(tokens, options); }, seconds / 2, 100);
  }

 private:
  static constexpr std::int64_t kMostRuns = 24;

  /// Goes back where that is possible; a window that has moved on stays as full as it is.
  static void back(KvCache& cache, std::int64_t before) {
    try {
      cache.truncate(before);
    } catch (const Error&) {
    }
  }

  const Draft& draft_;
  std::optional<models::Transformer> model_;
  std::int64_t layers_ = 0;
  double flop_ = 0.0;
  bool causal_ = true;
};

/// Seconds of reading blocks from an empty cache to a full one, per layer and on top.
struct Reading {
  double first = 0.0, last = 0.0;  ///< of the first and the last block
  double decode = 0.0;
};

train::Batch batch_of(std::int64_t B, std::int64_t T, std::int64_t vocabulary, bool classes) {
  train::Batch batch;
  Tensor ids = token_ids(1, B * T, vocabulary);
  batch.labels = Tensor(DType::kI32, {classes ? B : B * T});
  batch.ids = Tensor(DType::kI32, {B * T});
  std::copy_n(ids.span<std::int32_t>().begin(), B * T, batch.ids.span<std::int32_t>().begin());
  if (classes) {
    std::ranges::fill(batch.labels.span<std::int32_t>(), 0);
  } else {
    std::copy_n(ids.span<std::int32_t>().begin(), B * T, batch.labels.span<std::int32_t>().begin());
  }
  batch.cu_seqlens = Tensor(DType::kI32, {B + 1});
  for (std::int64_t s = 0; s <= B; ++s)
    batch.cu_seqlens.span<std::int32_t>()[static_cast<std::size_t>(s)] =
        static_cast<std::int32_t>(s * T);
  return batch;
}

double step_seconds(const Draft& draft,
                    std::int64_t layers,
                    std::optional<std::int64_t> vocabulary,
                    double seconds) {
  models::Sizes sizes;
  sizes.layers = layers;
  sizes.vocabulary = vocabulary;
  const std::string config = models::resized(draft.config, sizes).dump();
  train::Trainee trainee = train::Trainee::fresh(config, 1);
  train::AdamW adamw(trainee.parameters());
  const std::int64_t T = std::min(train_length(draft), trainee.positions());
  const train::Batch batch = batch_of(draft.batch, T, trainee.vocabulary(), trainee.classes() > 0);
  const auto body = [&] {
    (void)trainee.step(batch, {.scale = 1.0 / static_cast<double>(batch.labels.size())});
    adamw.step(trainee.parameters(), 1e-4);
  };
  return timed(body, seconds, 30);
}

/// Layers are counted on a network with few words, what stands around them on one layer with all of them.
double train_speed(const Draft& draft, const MeasureOptions& options, double& around) {
  const auto L = static_cast<std::int64_t>(models::read_blueprint(draft.config).layers.size());
  const auto T = static_cast<double>(draft.batch * train_length(draft));
  if (L <= 2) return T / step_seconds(draft, L, std::nullopt, options.seconds);
  constexpr std::int64_t kWords = 512;
  // Kinds of layers come in turns: as many as hold all of them as often as the whole does.
  const std::int64_t more = std::min<std::int64_t>(L - 1, 3);
  const double one = step_seconds(draft, 1, kWords, options.seconds);
  const double several = step_seconds(draft, 1 + more, kWords, options.seconds);
  const double each = std::max(0.0, several - one) / static_cast<double>(more);
  around = options.around;
  if (around <= 0.0)
    around = std::max(1e-9, step_seconds(draft, 1, std::nullopt, options.seconds) - each);
  return T / (around + each * static_cast<double>(L));
}

}  // namespace

void fill(KvCache& cache, std::int64_t length) {
  constexpr std::int64_t kPart = 256;
  std::map<std::pair<std::int64_t, std::int64_t>, Tensor> noise;
  const auto some = [&](std::int64_t groups, std::int64_t width) -> Tensor& {
    Tensor& t = noise[{groups, width}];
    if (!t.empty()) return t;
    t = Tensor(DType::kF32, {groups, kPart, width});
    std::uint32_t state = 1;
    for (float& x : t.span<float>()) {
      state = state * 1664525U + 1013904223U;
      x = static_cast<float>(state >> 8) * 0x1p-23F - 1.0F;
    }
    return t;
  };
  while (cache.length() < length) {
    const std::int64_t part = std::min(kPart, length - cache.length());
    for (std::size_t n = 0; n < cache.layers().size(); ++n) {
      const KvCache::Layer& l = cache.layers()[n];
      View<const float, 3> k = std::as_const(some(l.groups, l.width)).view<float, 3>();
      View<const float, 3> v = std::as_const(some(l.groups, l.value_width)).view<float, 3>();
      k.shape[1] = v.shape[1] = part;
      cache.append(n, k, v);
    }
    cache.advance(part);
  }
}

Speeds measure(const Draft& draft, const MeasureOptions& options) {
  const Figures f = figures(draft);
  const double start = kernels::now();
  const std::uint64_t memory = options.memory != 0 ? options.memory : free_memory() / 2;
  const models::Blueprint whole = blueprint_of(draft);
  const std::int64_t B = draft.batch;
  const std::int64_t block = f.causal ? std::min(kBlock, draft.context) : draft.context;
  const std::int64_t last = draft.context - block;  // tokens before the last block
  Reading sum;
  bool first = true;
  for (Kind& kind : kinds_of(whole)) {
    const std::int64_t count = kind.count;
    Probe probe(draft, whole, std::move(kind), memory);
    const std::int64_t rows = probe.rows(block);
    const double blocks = static_cast<double>(block) / static_cast<double>(rows);
    const double on_read = probe.top(1, rows, options.seconds);
    const double on_decode = f.generates ? probe.top(B, 1, options.seconds) : 0.0;
    const auto layers = [&](double seconds, double on_top) {
      return std::max(0.0, seconds - on_top) / static_cast<double>(probe.layers()) *
             static_cast<double>(count);
    };
    const double at_first = layers(probe.run(1, rows, 0, options.seconds), on_read) * blocks;
    const double at_last =
        last > 0 ? layers(probe.run(1, rows, last, options.seconds), on_read) * blocks : at_first;
    sum.first += at_first;
    sum.last += at_last;
    if (f.generates) {
      // The steps that are timed end where the context does.
      const std::int64_t before = std::max<std::int64_t>(0, draft.context - 1);
      sum.decode += layers(probe.run(B, 1, before, options.seconds), on_decode);
    }
    if (first) {
      sum.first += on_read;
      sum.last += on_read;
      sum.decode += on_decode;
      first = false;
    }
  }
  Speeds out;
  const auto T = static_cast<double>(draft.context);
  out.read = T / (T / static_cast<double>(block) * (sum.first + sum.last) / 2.0);
  if (f.generates) out.decode = static_cast<double>(B) / sum.decode;
  if (options.train && trains(draft)) out.train = train_speed(draft, options, out.around);
  out.seconds = kernels::now() - start;
  return out;
}

}  // namespace headscope::architect
