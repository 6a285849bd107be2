#pragma once

#include <span>
#include <vector>

#include "doctor/baseline.h"

/// One head by itself: where it looked hardest, and what its weights write and seek.
namespace headscope::doctor {

/// A row of a text that gives much of its weight to one key.
struct Link {
  std::size_t text = 0;
  std::int64_t row = 0, key = 0;
  double weight = 0.0;
};
struct Links {
  std::vector<Link> strongest;  ///< each pair of tokens once, falling weight
  double first_mass = 0.0;      ///< mean weight on the first token, rows behind it
};
/// The `most` strongest, the first token of each text left out: many heads rest there.
/// Cost  a run of each text up to the head's layer, O(T) numbers. Errors: those of Model::run.
Links strongest_links(const Model& model,
                      HeadId head,
                      std::span<const Tokens> texts,
                      std::size_t most);

struct WordPair {
  std::int32_t from = 0, to = 0;
  double score = 0.0;
};
struct CircuitOptions {
  std::int64_t words =
      0;  ///< the first so many of the vocabulary; 0: all. Special ones are left out
  std::size_t most = 12;  ///< pairs of each circuit
  Told told{};
};
struct Circuits {
  /// Why `writes` is empty.
  enum class Silence : std::uint8_t {
    kNone,
    kNoWords,  ///< the model's output is no logits of words
    kNotAdded,  ///< norms stand behind attention, say: heads do not add to the stream that logits are read from
    kNotLinear,  ///< a layer of its own stands between that stream and the logits
  };
  std::int64_t words = 0;
  /// Where `from` is attended to, the logit of `to` rises above that of the mean word, by so much times what the final
  /// norm divides by.
  std::vector<WordPair> writes;
  Silence silence = Silence::kNone;
  /// Score in nats of query `from` on key `to` without what depends on the distance.
  std::vector<WordPair> seeks;
  bool rotary = false;       ///< rotary positions are left out
  bool by_distance = false;  ///< biases by distance are left out
};
/// The strongest pairs of both circuits, falling, each word once on either side: the strongest pair of all, then the
/// strongest of words that are not there yet, and so on. Words are their embeddings at position 0, normed as the layer
/// norms them, as if no layer were below; rotary positions do not turn there, so what they add is left out.
/// Cost  one layer over all words; 2 V^2 D flop a circuit at most, in blocks: those whose norms cannot reach the pairs
/// found so far are skipped (|a.b| <= |a||b|). Memory  O(V D).
/// Errors: kUnsupported for a model of more than one stack.  Source  Elhage 2021.
Circuits circuits(const Model& model, HeadId head, const CircuitOptions& options = {});

/// The strongest products of a row of `a` with a row of `b`, both [N,D]: the strongest of all, then the strongest whose
/// rows are both not taken yet, until there are `most` or no row is left. Exact; of equals the lower rows. `from` and
/// `to` are rows. What `circuits` is made of.
std::vector<WordPair> strongest_products(const Tensor& a, const Tensor& b, std::size_t most);

}  // namespace headscope::doctor
