#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "doctor/baseline.h"
#include "formats/conllu.h"
#include "headscope/model.h"

/// Which heads look along the edges of a dependency tree, measured on a treebank.
namespace headscope::doctor {

/// Of an edge, who looks at whom.
enum class Looks : std::uint8_t {
  kAtHead,      ///< the dependent at its head: the subject at its verb
  kAtDependent  ///< the head at its dependent
};

/// One relation in one direction. A hit is a row whose largest weight on another word lies on the word that the tree
/// names. What every head is compared with: always the word at one fixed distance, the best one for the data.
struct Edges {
  std::string relation;
  Looks looks = Looks::kAtHead;
  std::int64_t n = 0;              ///< edges
  std::int32_t offset = 0;         ///< in words, from the one that looks: the commonest
  std::int64_t n_at_offset = 0;    ///< edges that lie there: hits of the baseline
  std::vector<std::int64_t> hits;  ///< [L,H]
  std::vector<std::int64_t>
      hits_off_offset;  ///< [L,H], among the n - n_at_offset edges that lie elsewhere

  [[nodiscard]] double baseline() const;  ///< share of n; 0 when there are no edges
  [[nodiscard]] double accuracy(std::size_t head) const;
  [[nodiscard]] double accuracy_off_offset(std::size_t head) const;
  /// Place in [L,H] of the head with the most hits; of equals the one with more off the offset, then the lower one.
  [[nodiscard]] std::size_t best() const;
  /// Of the head with the most hits off the offset; of equals the one with more in all, then the lower one.
  [[nodiscard]] std::size_t best_off_offset() const;
  /// Whether this head does it well enough to be named by it: ten points of a hundred above the best fixed distance, or
  /// no fewer than the hits of that distance and half of at least 50 edges that lie elsewhere (where nine in ten
  /// adjectives stand right before their noun, ten points are not there to be had); of at least 50 edges.
  /// Source  Voita 2019 s5.2 (ten points).
  [[nodiscard]] bool named(std::size_t head) const;
};

struct Syntax {
  std::vector<int> heads;      ///< [L] heads of each layer; H of [L,H] is the most of all layers
  std::vector<Edges> edges;    ///< relation by relation, first kAtHead, then kAtDependent
  std::int64_t sentences = 0;  ///< that were looked at
  std::int64_t skipped = 0;    ///< too long, or without a token
  std::int64_t unaligned =
      0;  ///< edges left out because no token stands where one of the words does

  [[nodiscard]] int heads_per_layer() const;  ///< H
  /// Place of a head in [L,H]; its layer is place / H. Errors: kRange.
  [[nodiscard]] std::size_t place(int layer, int head) const;
  /// The other way round.
  [[nodiscard]] HeadId head(std::size_t place) const;
  /// nullptr when the relation was not asked for.
  [[nodiscard]] const Edges* find(std::string_view relation, Looks looks) const;
};

struct SyntaxOptions {
  /// "nsubj" also counts "nsubj:pass"; "nsubj:pass" counts that alone. "nsubj>iobj" is no edge: two dependents of one
  /// head, who gives and who receives; kAtHead is then the first looking at the second.
  std::vector<std::string> relations = {"amod",
                                        "nsubj",
                                        "obj",
                                        "iobj",
                                        "obl",
                                        "nmod",
                                        "det",
                                        "case",
                                        "advmod",
                                        "nsubj>obj",
                                        "nsubj>iobj"};
  /// Sentences of more tokens are skipped; 0: those beyond the model's positions.
  std::int64_t longest = 0;
  /// Called after every block of sentences, from the thread that called.
  std::function<void(std::int64_t done, std::int64_t all)> progress;
};

/// Hits of every head on every edge. A word's row is the mean over its tokens, its column their sum; its own column
/// and special tokens are left out of the argmax; of equal columns the first counts. A token belongs to the first word
/// that it overlaps.
/// Cost    one forward pass a sentence, and 2*T*T*D flop a head in double. Threads: over sentences.
/// Errors  kInput without sentences; those of Model::run.
/// Source  Clark 2019 s4.2 and s5; Voita 2019 s5.2.
Syntax syntax(const Model& model,
              std::span<const conllu::Sentence> sentences,
              const SyntaxOptions& options = {});

/// "amod", and the other way round "amod back", as recipes and config.json say it.
std::string link_name(std::string_view relation, Looks looks);

/// For every token the word of the sentence that it is a piece of, -1 for none.
std::vector<std::int32_t> align(const conllu::Sentence& sentence, std::span<const Label> labels);

/// For every word the word that it looks at most, -1 when it has no token or sees no other word.
/// Shapes  map [T,T] of one head, word_of [T].
std::vector<std::int32_t> strongest_words(const View<const float, 2>& map,
                                          std::span<const std::int32_t> word_of,
                                          std::int32_t words);

/// A link that a tree names, and where a head looks from its beginning.
struct Followed {
  std::int32_t from = 0, to = 0;  ///< words
  std::int32_t looks_at = -1;     ///< strongest_words; -1: at no other word
};
/// All links of a relation in one sentence whose words have tokens. Shapes  map [T,T] of one head, word_of [T].
std::vector<Followed> follow(const conllu::Sentence& sentence,
                             std::string_view relation,
                             Looks looks,
                             const View<const float, 2>& map,
                             std::span<const std::int32_t> word_of);

/// How a role is called that follows a relation.
struct RoleName {
  const char* relation;
  Looks looks;
  const char* letter;
  const char* en;
  const char* ru;
};
/// The one with this English name, behind "taught: " as well; nullptr: none.
const RoleName* role_name(std::string_view en);
/// What stands before the names of roles that were taught.
inline constexpr std::string_view kTaught = "taught: ";

/// What heads do well enough to be named by it: for each kind of link the head with the most hits, if Edges::named.
/// `source` names the data.
std::vector<Role> syntax_roles(const Syntax& syntax, const std::string& source);

}  // namespace headscope::doctor
