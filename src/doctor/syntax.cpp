#include "doctor/syntax.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "headscope/error.h"
#include "headscope/threads.h"

namespace headscope::doctor {

namespace {

double part(std::int64_t some, std::int64_t all) {
  return all > 0 ? static_cast<double>(some) / static_cast<double>(all) : 0.0;
}

/// An edge of one sentence, in words.
struct Edge {
  std::size_t relation = 0;  // index into SyntaxOptions::relations
  std::int32_t dependent = 0;
  std::int32_t head = 0;
};

struct Looked {
  const conllu::Sentence* sentence = nullptr;
  std::vector<std::int32_t> word_of;
  std::vector<Edge> edges;
  Tokens tokens;
  bool skipped = false;
  std::int64_t unaligned = 0;
};

/// An edge and a direction in which some row may follow it.
struct Pair {
  std::size_t edges = 0;  // index into Syntax::edges
  std::int32_t from = 0;
  std::int32_t to = 0;
};

std::vector<Pair> pairs_of(const Looked& looked) {
  std::vector<Pair> pairs;
  for (const Edge& edge : looked.edges) {
    pairs.push_back({2 * edge.relation, edge.dependent, edge.head});
    pairs.push_back({2 * edge.relation + 1, edge.head, edge.dependent});
  }
  return pairs;
}

Looked look(const Model& model, const conllu::Sentence& sentence, const SyntaxOptions& options) {
  Looked out;
  out.sentence = &sentence;
  const std::int64_t limit =
      options.longest > 0 ? std::min(options.longest, model.positions()) : model.positions();
  const Encoding encoding = model.tokenizer().encode(sentence.text);
  const bool readable = std::any_of(encoding.offsets.begin(),
                                    encoding.offsets.end(),
                                    [](const ByteRange& range) { return range.begin < range.end; });
  if (!readable || static_cast<std::int64_t>(encoding.ids.size()) > limit) {
    out.skipped = true;
    return out;
  }
  std::vector<Label> labels;
  out.tokens = model.tokens(sentence.text, &labels);
  out.word_of = align(sentence, labels);
  std::vector<std::uint8_t> seen(sentence.words.size(), 0);
  for (const std::int32_t word : out.word_of) {
    if (word >= 0) seen[static_cast<std::size_t>(word)] = 1;
  }
  for (std::size_t r = 0; r < options.relations.size(); ++r) {
    for (const auto& [dependent, head] : conllu::edges(sentence, options.relations[r])) {
      const bool aligned = seen[static_cast<std::size_t>(dependent)] != 0 &&
                           seen[static_cast<std::size_t>(head)] != 0;
      if (aligned) {
        out.edges.push_back({r, dependent, head});
      } else {
        ++out.unaligned;
      }
    }
  }
  return out;
}

/// The commonest distance of each of Syntax::edges, the nearest of equals.
void choose_offsets(std::span<const Looked> all, std::vector<Edges>& edges) {
  std::vector<std::map<std::int32_t, std::int64_t>> distances(edges.size());
  for (const Looked& looked : all) {
    for (const Pair& pair : pairs_of(looked)) ++distances[pair.edges][pair.to - pair.from];
  }
  for (std::size_t e = 0; e < edges.size(); ++e) {
    for (const auto& [offset, count] : distances[e]) {
      edges[e].n += count;
      const bool nearer =
          count == edges[e].n_at_offset && std::abs(offset) < std::abs(edges[e].offset);
      if (count > edges[e].n_at_offset || nearer) {
        edges[e].offset = offset;
        edges[e].n_at_offset = count;
      }
    }
  }
}

/// [edges][L*H] of hits, and of hits off the offset.
struct Hits {
  std::vector<std::vector<std::int64_t>> all, off;
};

Hits hits_of(const Model& model, const Looked& looked, const Syntax& syntax) {
  const auto H = static_cast<std::size_t>(syntax.heads_per_layer());
  const std::size_t places = syntax.heads.size() * H;
  Hits hits{std::vector(syntax.edges.size(), std::vector<std::int64_t>(places)),
            std::vector(syntax.edges.size(), std::vector<std::int64_t>(places))};
  Sight sight;
  sight.stats = false;
  sight.keep_qk = true;
  RunOptions options;
  options.sight = &sight;
  options.outputs = false;
  const Run run = model.run(looked.tokens, options);
  const std::vector<Pair> pairs = pairs_of(looked);
  for (std::size_t l = 0; l < syntax.heads.size(); ++l) {
    for (int h = 0; h < syntax.heads[l]; ++h) {
      const Tensor map = run.sighting.map(static_cast<int>(l), h);
      const std::vector<std::int32_t> strongest =
          strongest_words(map.view<float, 2>(),
                          looked.word_of,
                          static_cast<std::int32_t>(looked.sentence->words.size()));
      const std::size_t place = l * H + static_cast<std::size_t>(h);
      for (const Pair& pair : pairs) {
        if (strongest[static_cast<std::size_t>(pair.from)] != pair.to) continue;
        ++hits.all[pair.edges][place];
        if (pair.to - pair.from != syntax.edges[pair.edges].offset) ++hits.off[pair.edges][place];
      }
    }
  }
  return hits;
}

void add(std::vector<std::int64_t>& to, const std::vector<std::int64_t>& from) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] += from[i];
}

/// Place of the largest number; of equal ones where the other is larger, then the first.
std::size_t most(const std::vector<std::int64_t>& numbers, const std::vector<std::int64_t>& other) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < numbers.size(); ++i) {
    if (std::pair(numbers[i], other[i]) > std::pair(numbers[best], other[best])) best = i;
  }
  return best;
}

}  // namespace

double Edges::baseline() const { return part(n_at_offset, n); }
double Edges::accuracy(std::size_t head) const { return part(hits.at(head), n); }
double Edges::accuracy_off_offset(std::size_t head) const {
  return part(hits_off_offset.at(head), n - n_at_offset);
}

std::size_t Edges::best() const { return most(hits, hits_off_offset); }
std::size_t Edges::best_off_offset() const { return most(hits_off_offset, hits); }

int Syntax::heads_per_layer() const {
  return heads.empty() ? 0 : *std::max_element(heads.begin(), heads.end());
}

std::size_t Syntax::place(int layer, int head) const {
  const bool known = layer >= 0 && layer < static_cast<int>(heads.size()) && head >= 0 &&
                     head < heads[static_cast<std::size_t>(layer)];
  if (!known) {
    throw Error(
        ErrorCode::kRange,
        fmt::format("[syntax] expected a head of {} layers of at most {} heads, found {}.{}",
                    heads.size(),
                    heads_per_layer(),
                    layer,
                    head));
  }
  return static_cast<std::size_t>(layer * heads_per_layer() + head);
}

HeadId Syntax::head(std::size_t place) const {
  const auto H = static_cast<std::size_t>(std::max(1, heads_per_layer()));
  return {static_cast<int>(place / H), static_cast<int>(place % H)};
}

const Edges* Syntax::find(std::string_view relation, Looks looks) const {
  for (const Edges& e : edges) {
    if (e.relation == relation && e.looks == looks) return &e;
  }
  return nullptr;
}

std::vector<std::int32_t> align(const conllu::Sentence& sentence, std::span<const Label> labels) {
  std::vector<conllu::Range> ranges;
  for (const Label& label : labels) {
    const bool stands = !label.special && label.begin < label.end;
    ranges.push_back(stands ? conllu::Range{static_cast<std::size_t>(label.begin),
                                            static_cast<std::size_t>(label.end)}
                            : conllu::Range{});
  }
  return conllu::words_of(sentence, ranges);
}

std::vector<std::int32_t> strongest_words(const View<const float, 2>& map,
                                          std::span<const std::int32_t> word_of,
                                          std::int32_t words) {
  const auto W = static_cast<std::size_t>(words);
  // Sums over the tokens of a word stand in for means: the argmax of a row is the same.
  std::vector<double> sums(W * W, 0.0);
  for (std::size_t q = 0; q < word_of.size(); ++q) {
    if (word_of[q] < 0) continue;
    double* row = sums.data() + static_cast<std::size_t>(word_of[q]) * W;
    for (std::size_t k = 0; k < word_of.size(); ++k) {
      if (word_of[k] >= 0) row[word_of[k]] += static_cast<double>(map(q, k));
    }
  }
  std::vector<std::int32_t> out(W, -1);
  for (std::size_t w = 0; w < W; ++w) {
    double most = 0.0;
    for (std::size_t to = 0; to < W; ++to) {
      if (to == w || sums[w * W + to] <= most) continue;
      most = sums[w * W + to];
      out[w] = static_cast<std::int32_t>(to);
    }
  }
  return out;
}

std::vector<Followed> follow(const conllu::Sentence& sentence,
                             std::string_view relation,
                             Looks looks,
                             const View<const float, 2>& map,
                             std::span<const std::int32_t> word_of) {
  const auto words = static_cast<std::int32_t>(sentence.words.size());
  const std::vector<std::int32_t> strongest = strongest_words(map, word_of, words);
  const auto has_token = [&](std::int32_t word) {
    return std::find(word_of.begin(), word_of.end(), word) != word_of.end();
  };
  std::vector<Followed> out;
  for (const auto& [dependent, head] : conllu::edges(sentence, relation)) {
    if (!has_token(dependent) || !has_token(head)) continue;
    const bool at_head = looks == Looks::kAtHead;
    const std::int32_t from = at_head ? dependent : head;
    out.push_back({from, at_head ? head : dependent, strongest[static_cast<std::size_t>(from)]});
  }
  return out;
}

std::string link_name(std::string_view relation, Looks looks) {
  return std::string(relation) + (looks == Looks::kAtDependent ? " back" : "");
}

Syntax syntax(const Model& model,
              std::span<const conllu::Sentence> sentences,
              const SyntaxOptions& options) {
  if (sentences.empty()) {
    throw Error(ErrorCode::kInput, "[syntax] expected at least one sentence, found none");
  }
  Syntax out;
  // Of two stacks the one that reads the sentence; the other has a row for every token that it says.
  const int layers = model.encoder_layers() > 0 ? model.encoder_layers() : model.layers();
  for (int l = 0; l < layers; ++l) out.heads.push_back(model.heads(l));
  for (const std::string& relation : options.relations) {
    for (const Looks looks : {Looks::kAtHead, Looks::kAtDependent}) {
      Edges edges;
      edges.relation = relation;
      edges.looks = looks;
      edges.hits.resize(out.heads.size() * static_cast<std::size_t>(out.heads_per_layer()));
      edges.hits_off_offset.resize(edges.hits.size());
      out.edges.push_back(std::move(edges));
    }
  }
  std::vector<Looked> all(sentences.size());
  parallel_for(static_cast<std::int64_t>(all.size()), [&](std::int64_t i) {
    const auto n = static_cast<std::size_t>(i);
    all[n] = look(model, sentences[n], options);
  });
  for (const Looked& looked : all) {
    ++(looked.skipped ? out.skipped : out.sentences);
    out.unaligned += looked.unaligned;
  }
  choose_offsets(all, out.edges);
  constexpr std::size_t kBlock = 32;
  for (std::size_t first = 0; first < all.size(); first += kBlock) {
    const std::size_t count = std::min(kBlock, all.size() - first);
    std::vector<Hits> hits(count);
    parallel_for(static_cast<std::int64_t>(count), [&](std::int64_t i) {
      const Looked& looked = all[first + static_cast<std::size_t>(i)];
      if (!looked.edges.empty()) hits[static_cast<std::size_t>(i)] = hits_of(model, looked, out);
    });
    for (const Hits& some : hits) {
      for (std::size_t e = 0; e < some.all.size(); ++e) {
        add(out.edges[e].hits, some.all[e]);
        add(out.edges[e].hits_off_offset, some.off[e]);
      }
    }
    if (options.progress) {
      options.progress(static_cast<std::int64_t>(first + count),
                       static_cast<std::int64_t>(all.size()));
    }
  }
  return out;
}

}  // namespace headscope::doctor
