#include "doctor/circuits.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "doctor/roles.h"
#include "headscope/threads.h"
#include "models/network.h"

namespace headscope::doctor {

namespace {

// Lengths of rows, and the rows by falling length.
struct ByLength {
  std::vector<double> lengths;
  std::vector<std::size_t> order;

  explicit ByLength(const Tensor& t) : lengths(static_cast<std::size_t>(t.dim(0))) {
    const auto rows = t.view<float, 2>();
    for (std::int64_t i = 0; i < rows.shape[0]; ++i) {
      double sum = 0.0;
      for (std::int64_t d = 0; d < rows.shape[1]; ++d)
        sum += static_cast<double>(rows(i, d)) * static_cast<double>(rows(i, d));
      lengths[static_cast<std::size_t>(i)] = std::sqrt(sum);
    }
    order.resize(lengths.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t x, std::size_t y) {
      return lengths[x] > lengths[y];
    });
  }
};

Tensor gathered(const Tensor& from, std::span<const std::size_t> rows) {
  const auto width = static_cast<std::size_t>(from.dim(1));
  Tensor out(DType::kF32, {static_cast<std::int64_t>(rows.size()), from.dim(1)});
  for (std::size_t i = 0; i < rows.size(); ++i)
    std::memcpy(out.span<float>().data() + i * width,
                from.span<float>().data() + rows[i] * width,
                width * sizeof(float));
  return out;
}

constexpr std::size_t kRows = 256;      // of a at once
constexpr std::size_t kColumns = 4096;  // of b at once

// A total order: strongest first, of equals the lower rows.
bool before(const WordPair& x, const WordPair& y) {
  return x.score != y.score ? x.score > y.score : std::pair(x.from, x.to) < std::pair(y.from, y.to);
}

// Takes the first pair whose two words are both still there, and so on: each word once on either side.
class Taken {
 public:
  // Whether this pair, the next one in order, is taken.
  bool take(const WordPair& pair) {
    if (from_.contains(pair.from) || to_.contains(pair.to)) return false;
    from_.insert(pair.from);
    to_.insert(pair.to);
    return true;
  }
  [[nodiscard]] std::size_t size() const { return from_.size(); }

 private:
  std::set<std::int32_t> from_, to_;
};

// The pairs among which the `most` that are taken must be. When one is taken, fewer than `most` of its row's and of its
// column's partners are gone, so it is among the first `most` of both. And once 2 most - 1 pairs are found that share no
// word, no weaker one matters: whoever takes the strongest first ends with at least half as many as there could be.
class Candidates {
 public:
  explicit Candidates(std::size_t most) : most_(most) {}
  // No weaker pair is taken.
  [[nodiscard]] double least() const { return least_; }

  void add(std::span<const std::vector<WordPair>> rows) {
    for (const std::vector<WordPair>& row : rows)
      pairs_.insert(pairs_.end(), row.begin(), row.end());
    std::sort(pairs_.begin(), pairs_.end(), before);
    Taken taken;
    std::map<std::int32_t, std::size_t> in_column;
    std::vector<WordPair> kept;
    for (const WordPair& pair : pairs_) {
      if (in_column[pair.to]++ < most_) kept.push_back(pair);
      if (!taken.take(pair) || taken.size() + 1 < 2 * most_) continue;
      least_ = std::max(least_, pair.score);
      break;
    }
    pairs_ = std::move(kept);
  }
  [[nodiscard]] std::vector<WordPair> strongest() const {
    Taken taken;
    std::vector<WordPair> out;
    for (const WordPair& pair : pairs_) {
      if (out.size() < most_ && taken.take(pair)) out.push_back(pair);
    }
    return out;
  }

 private:
  std::size_t most_;
  double least_ = -std::numeric_limits<double>::infinity();
  std::vector<WordPair> pairs_;  // in order
};

// Keeps the `most` best partners of every row, none weaker than `least`; the worst of them stands in front.
void raise(const Tensor& scores,
           std::span<const std::size_t> rows,
           std::span<const std::size_t> partners,
           std::size_t most,
           double least,
           std::span<std::vector<WordPair>> best) {
  const auto s = scores.view<float, 2>();
  parallel_for(s.shape[0], [&](std::int64_t i) {
    std::vector<WordPair>& own = best[static_cast<std::size_t>(i)];
    const auto row = static_cast<std::int32_t>(rows[static_cast<std::size_t>(i)]);
    for (std::int64_t j = 0; j < s.shape[1]; ++j) {
      const double score = static_cast<double>(s(i, j));
      if (!(score >= least)) continue;
      const WordPair pair{
          row, static_cast<std::int32_t>(partners[static_cast<std::size_t>(j)]), score};
      if (own.size() == most) {
        if (!before(pair, own.front())) continue;
        std::pop_heap(own.begin(), own.end(), before);
        own.pop_back();
      }
      own.push_back(pair);
      std::push_heap(own.begin(), own.end(), before);
    }
  });
}

}  // namespace

std::vector<WordPair> strongest_products(const Tensor& a, const Tensor& b, std::size_t most) {
  if (most == 0 || a.dim(0) == 0 || b.dim(0) == 0) return {};
  const ByLength left(a), right(b);
  Candidates found(most);
  const auto reaches = [&](std::size_t i, std::size_t j) {
    return left.lengths[left.order[i]] * right.lengths[right.order[j]] >= found.least();
  };
  std::vector<Linear> columns;
  for (std::size_t i = 0; i < left.order.size() && reaches(i, 0); i += kRows) {
    const auto own = std::span(left.order).subspan(i, std::min(kRows, left.order.size() - i));
    const Tensor rows = gathered(a, own);
    std::vector<std::vector<WordPair>> best(own.size());
    for (std::size_t j = 0; j < right.order.size() && reaches(i, j); j += kColumns) {
      const auto partners =
          std::span(right.order).subspan(j, std::min(kColumns, right.order.size() - j));
      if (j / kColumns == columns.size()) columns.emplace_back(gathered(b, partners).any());
      Tensor scores(DType::kF32, {rows.dim(0), static_cast<std::int64_t>(partners.size())});
      columns[j / kColumns](rows.view<float, 2>(), scores.view<float, 2>());
      raise(scores, own, partners, most, found.least(), best);
    }
    found.add(best);
  }
  return found.strongest();
}

namespace {

// What one layer's head makes of words by themselves.
struct Words {
  std::vector<std::int32_t> ids;
  Tensor q, k, v;  // [N,D], [N,D], [N,Dv]
};

void copy_head(const Tensor& from, std::int64_t head, std::size_t first, Tensor& to) {
  const auto each = from.view<float, 4>();
  for (std::int64_t i = 0; i < each.shape[0]; ++i) {
    std::copy_n(
        &each(i, head, 0, 0),
        each.shape[3],
        to.span<float>().data() +
            static_cast<std::ptrdiff_t>((static_cast<std::int64_t>(first) + i) * each.shape[3]));
  }
}

std::vector<std::int32_t> words_of(const Model& model, std::int64_t most) {
  std::int64_t V = std::min<std::int64_t>(model.vocabulary(), model.tokenizer().vocabulary_size());
  if (most > 0) V = std::min(V, most);
  std::vector<std::int32_t> out;
  for (std::int32_t id = 0; id < V; ++id) {
    if (!is_special(model, id)) out.push_back(id);
  }
  if (out.empty()) throw Error(ErrorCode::kInput, "[circuits] expected words, found none");
  return out;
}

// Every word is a sequence of its own: it stands on position 0.
Words read_words(const Model& model, HeadId head, const CircuitOptions& options) {
  constexpr std::size_t kAtOnce = 512;
  const AttentionWeights& w = model.attention(head.layer);
  Words out;
  out.ids = words_of(model, options.words);
  const auto N = static_cast<std::int64_t>(out.ids.size());
  out.q = Tensor(DType::kF32, {N, w.width});
  out.k = Tensor(DType::kF32, {N, w.width});
  out.v = Tensor(DType::kF32, {N, w.value_width});
  for (std::size_t first = 0; first < out.ids.size(); first += kAtOnce) {
    const std::size_t n = std::min(kAtOnce, out.ids.size() - first);
    Tokens tokens;
    tokens.ids = Tensor(DType::kI32, {static_cast<std::int64_t>(n), 1});
    std::copy_n(out.ids.begin() + static_cast<std::ptrdiff_t>(first),
                n,
                tokens.ids.span<std::int32_t>().begin());
    Resume resume;
    RunOptions run;
    run.outputs = false;
    run.resume = &resume;
    resume.end = 0;
    const Tensor stream = model.run(tokens, run).last_hidden_state;
    resume.layer = head.layer;
    resume.end = head.layer + 1;
    resume.x = &stream;
    run.trace_layers = {head.layer};
    const AttentionTrace trace = std::move(model.run(tokens, run).traces.front());
    const std::int64_t group = head.head / (w.heads / w.groups);
    copy_head(trace.q, head.head, first, out.q);
    copy_head(trace.k, group, first, out.k);
    copy_head(trace.v, group, first, out.v);
    if (options.told)
      options.told(static_cast<std::int64_t>(first + n), static_cast<std::int64_t>(N));
  }
  return out;
}

// What a head's findings [Dv] add to each word's logit above the mean word: [N,Dv]. The final norm is there as a linear
// map: without the length that it divides by.
Tensor written(const Model& model, HeadId head, const Words& words) {
  const models::Network& network = model.network();
  const AttentionWeights& w = model.attention(head.layer);
  const models::Blueprint& b = network.blueprint();
  const bool centred = !b.final_norm.empty() && b.norm.kind == HeadNorm::Kind::kLayer;
  const Tensor output = model.output_weight(head.layer);
  const auto o = output.view<float, 2>();
  Tensor map(DType::kF32, {w.value_width, o.shape[0]});
  for (std::int64_t c = 0; c < o.shape[0]; ++c) {
    for (std::int64_t d = 0; d < w.value_width; ++d)
      map.view<float, 2>()(d, c) = b.residual_scale * o(c, head.head * w.value_width + d);
  }
  const Linear back(map.any());
  const auto N = static_cast<std::int64_t>(words.ids.size());
  Tensor out(DType::kF32, {N, w.value_width});
  constexpr std::int64_t kAtOnce = 512;
  for (std::int64_t first = 0; first < N; first += kAtOnce) {
    const std::int64_t n = std::min(kAtOnce, N - first);
    Tensor rows(DType::kF32, {n, o.shape[0]});
    parallel_for(n, [&](std::int64_t i) {
      const Tensor row =
          network.readout(words.ids[static_cast<std::size_t>(first + i)], words.ids.front());
      double mean = 0.0;
      for (const float x : row.span<float>()) mean += static_cast<double>(x);
      mean = centred ? mean / static_cast<double>(row.size()) : 0.0;
      for (std::int64_t c = 0; c < o.shape[0]; ++c)
        rows.view<float, 2>()(i, c) =
            row.span<float>()[static_cast<std::size_t>(c)] - static_cast<float>(mean);
    });
    back(std::as_const(rows).view<float, 2>(),
         View<float, 2>(&out.view<float, 2>()(first, 0), {n, w.value_width}));
  }
  const auto all = out.view<float, 2>();
  for (std::int64_t d = 0; d < w.value_width; ++d) {
    double mean = 0.0;
    for (std::int64_t i = 0; i < N; ++i) mean += static_cast<double>(all(i, d));
    for (std::int64_t i = 0; i < N; ++i)
      all(i, d) -= static_cast<float>(mean / static_cast<double>(N));
  }
  return out;
}

// Why nothing is written that logits could tell. Only a run tells what stands on top.
Circuits::Silence silence_of(const Model& model, const Words& words) {
  Tokens one;
  one.ids = Tensor(DType::kI32, {1, 1});
  one.ids.span<std::int32_t>()[0] = words.ids.front();
  const Tensor logits = model.run(one).logits;
  const bool foretells =
      !logits.empty() && logits.shape().size() == 3 && logits.shape().back() == model.vocabulary();
  if (!foretells) return Circuits::Silence::kNoWords;
  const models::Network& network = model.network();
  if (!network.readout(words.ids.front(), words.ids.front()).empty())
    return Circuits::Silence::kNone;
  const models::Blueprint& b = network.blueprint();
  const auto normed = [](const models::LayerFacts& layer) {
    return !layer.attention_norms.after.empty() || !layer.attention_norms.over.empty() ||
           !layer.mlp_norms.over.empty();
  };
  const bool added = b.logit_softcap <= 0.0F && !b.residual_normed && b.final_projection.empty() &&
                     !b.convolution && std::none_of(b.layers.begin(), b.layers.end(), normed);
  return added ? Circuits::Silence::kNotLinear : Circuits::Silence::kNotAdded;
}

std::vector<WordPair> named(std::vector<WordPair> pairs, const Words& words, double scale) {
  for (WordPair& pair : pairs) {
    pair.from = words.ids[static_cast<std::size_t>(pair.from)];
    pair.to = words.ids[static_cast<std::size_t>(pair.to)];
    pair.score *= scale;
  }
  return pairs;
}

}  // namespace

Circuits circuits(const Model& model, HeadId head, const CircuitOptions& options) {
  if (!model.resumes()) {
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format("[circuits] expected a model of one stack of layers over words, found {}",
                    model.family()));
  }
  const Words words = read_words(model, head, options);
  Circuits out;
  out.words = static_cast<std::int64_t>(words.ids.size());
  out.silence = silence_of(model, words);
  if (out.silence == Circuits::Silence::kNone) {
    out.writes =
        named(strongest_products(words.v, written(model, head, words), options.most), words, 1.0);
  }
  const models::AttentionFacts& facts = model.network().facts(static_cast<std::size_t>(head.layer));
  out.rotary = facts.rope.style != Rotary::Style::kNone;
  out.by_distance = !facts.slopes.empty() || !facts.relative.table.empty() || facts.disentangled;
  const double scale = facts.scale ? static_cast<double>(*facts.scale)
                                   : 1.0 / std::sqrt(static_cast<double>(facts.width));
  out.seeks = named(strongest_products(words.q, words.k, options.most), words, scale);
  return out;
}

Links strongest_links(const Model& model,
                      HeadId head,
                      std::span<const Tokens> texts,
                      std::size_t most) {
  Sight sight;
  sight.top_k = 2;  // the first token, and what comes behind it
  sight.heads = {head.head};
  Resume resume;
  resume.end = head.layer + 1;
  RunOptions options;
  options.outputs = false;
  options.sight = &sight;
  options.layers = {head.layer};
  if (model.resumes()) options.resume = &resume;
  Links out;
  std::int64_t rows = 0;
  std::map<std::pair<std::int32_t, std::int32_t>, Link> best;
  for (std::size_t t = 0; t < texts.size(); ++t) {
    const Run run = model.run(texts[t], options);
    const FocusRecord& record = run.sighting.layers[static_cast<std::size_t>(head.layer)];
    const auto ids = texts[t].ids.span<std::int32_t>();
    const auto keys = record.top_keys.view<std::int32_t, 4>();
    const auto weights = record.top_weights.view<float, 4>();
    for (std::int64_t i = 1; i < record.rows; ++i, ++rows) {
      out.first_mass += static_cast<double>(record.first_mass.view<float, 3>()(0, 0, i));
      const std::int64_t at = keys(0, 0, i, 0) == 0 ? 1 : 0;
      const std::int64_t key = keys(0, 0, i, at);
      if (key < 0 || key >= static_cast<std::int64_t>(ids.size())) continue;
      const Link link{t, i, key, static_cast<double>(weights(0, 0, i, at))};
      Link& own = best[{ids[static_cast<std::size_t>(i)], ids[static_cast<std::size_t>(key)]}];
      if (link.weight > own.weight) own = link;
    }
  }
  if (rows > 0) out.first_mass /= static_cast<double>(rows);
  for (const auto& [pair, link] : best) out.strongest.push_back(link);
  std::stable_sort(out.strongest.begin(), out.strongest.end(), [](const Link& x, const Link& y) {
    return x.weight > y.weight;
  });
  out.strongest.resize(std::min(out.strongest.size(), most));
  return out;
}

}  // namespace headscope::doctor
