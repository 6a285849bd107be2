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

// Keeps the best partner of every row.
void raise(const Tensor& scores, std::span<const std::size_t> partners, std::span<WordPair> best) {
  const auto s = scores.view<float, 2>();
  parallel_for(s.shape[0], [&](std::int64_t i) {
    const float* row = &s(i, 0);
    const auto at = static_cast<std::size_t>(std::max_element(row, row + s.shape[1]) - row);
    WordPair& own = best[static_cast<std::size_t>(i)];
    if (static_cast<double>(row[at]) <= own.score) return;
    own.score = static_cast<double>(row[at]);
    own.to = static_cast<std::int32_t>(partners[at]);
  });
}

}  // namespace

std::vector<WordPair> strongest_products(const Tensor& a, const Tensor& b, std::size_t most) {
  const ByLength left(a), right(b);
  const std::size_t wanted = 64 * most;
  std::vector<WordPair> found;
  double threshold = -std::numeric_limits<double>::infinity();
  const auto reaches = [&](std::size_t i, std::size_t j) {
    return left.lengths[left.order[i]] * right.lengths[right.order[j]] > threshold;
  };
  const auto falling = [](const WordPair& x, const WordPair& y) { return x.score > y.score; };
  std::vector<Linear> columns;
  for (std::size_t i = 0; i < left.order.size() && reaches(i, 0); i += kRows) {
    const auto own = std::span(left.order).subspan(i, std::min(kRows, left.order.size() - i));
    const Tensor rows = gathered(a, own);
    std::vector<WordPair> best;
    for (const std::size_t row : own)
      best.push_back({static_cast<std::int32_t>(row), 0, -std::numeric_limits<double>::infinity()});
    for (std::size_t j = 0; j < right.order.size() && reaches(i, j); j += kColumns) {
      const auto partners =
          std::span(right.order).subspan(j, std::min(kColumns, right.order.size() - j));
      if (j / kColumns == columns.size()) columns.emplace_back(gathered(b, partners).any());
      Tensor scores(DType::kF32, {rows.dim(0), static_cast<std::int64_t>(partners.size())});
      columns[j / kColumns](rows.view<float, 2>(), scores.view<float, 2>());
      raise(scores, partners, best);
    }
    found.insert(found.end(), best.begin(), best.end());
    if (found.size() <= wanted) continue;
    const auto last = found.begin() + static_cast<std::ptrdiff_t>(wanted);
    std::nth_element(found.begin(), last - 1, found.end(), falling);
    found.erase(last, found.end());
    threshold = found.back().score;
    for (const WordPair& pair : found) threshold = std::min(threshold, pair.score);
  }
  std::stable_sort(found.begin(), found.end(), [](const WordPair& x, const WordPair& y) {
    return x.score != y.score ? x.score > y.score : x.from < y.from;
  });
  // Each partner once first; where there are not enough of them, the strongest of the others.
  std::set<std::int32_t> taken;
  std::vector<WordPair> out, again;
  for (const WordPair& pair : found) (taken.insert(pair.to).second ? out : again).push_back(pair);
  out.insert(out.end(), again.begin(), again.end());
  out.resize(std::min(out.size(), most));
  return out;
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

// What a head's findings [Dv] add to each word's logit above the mean word: [N,Dv], or empty. The final norm is there as
// a linear map: without the length that it divides by.
Tensor written(const Model& model, HeadId head, const Words& words) {
  const models::Network& network = model.network();
  if (network.readout(words.ids.front(), words.ids.front()).empty()) return {};
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
  if (const Tensor writes = written(model, head, words); !writes.empty())
    out.writes = named(strongest_products(words.v, writes, options.most), words, 1.0);
  const models::AttentionFacts& facts = model.network().facts(static_cast<std::size_t>(head.layer));
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
