#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "headscope/tokenizer.h"
#include "train/source.h"

/// Heads that are taught where to look, by dependency trees.
namespace headscope::train {

/// One head, and what it should follow.
struct TaughtHead {
  std::int32_t layer = 0, head = 0;
  /// "nsubj": the dependent looks at its head; "nsubj>iobj": the first dependent of a head at the second one.
  std::string relation;
  bool back = false;  ///< "nsubj back": the other way round

  friend bool operator==(const TaughtHead&, const TaughtHead&) = default;
};

struct Teaching {
  std::vector<std::filesystem::path>
      trees;  ///< .conllu, also packed by xz; empty: nothing is taught
  std::vector<std::filesystem::path>
      without;  ///< sentences that are here too (by id or text) are left out
  std::vector<TaughtHead> heads;
  std::int64_t sentences = 16;  ///< that join a batch
  double weight = 1.0;          ///< of a look's mean -log weight beside a label's mean nats
};

/// `base`, and in each batch some sentences with nothing hidden, whose words the heads are taught about: all tokens of
/// a word should look at all of the other. What is taught takes turns in the draws. `longest` in tokens, [CLS] and
/// [SEP] included; longer ones are left out.
/// Errors  kInput when no sentence holds one of the relations; those of conllu::load.
/// Source  Strubell 2018 s2.2.
std::unique_ptr<Source> taught_source(std::unique_ptr<Source> base,
                                      const Teaching& teaching,
                                      const Tokenizer& tokenizer,
                                      std::int64_t longest,
                                      std::uint64_t seed);

}  // namespace headscope::train
