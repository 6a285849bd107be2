#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "headscope/train.h"
#include "train/text_data.h"

/// Where batches come from.
namespace headscope::train {

/// Batches of a run. Batch n is a function of the seed and n alone, so that the position in the data is the number of
/// the step.
class Source {
 public:
  Source() = default;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  virtual ~Source() = default;

  /// Threads: may be called from any.
  [[nodiscard]] virtual Batch batch(std::uint64_t n) const = 0;
  /// Batches in one pass over the data, at least 1.
  [[nodiscard]] virtual std::uint64_t pass() const = 0;
};

/// What is hidden of the words of a language, as shares.
struct HiddenWords {
  double endings = 0.35;    ///< of endings alone
  double stems = 0.08;      ///< of words that have an ending, with it
  double words = 0.12;      ///< of words without one
  double functions = 0.20;  ///< of words of closed classes
  double marks = 0.0;       ///< of punctuation and the like

  friend bool operator==(const HiddenWords&, const HiddenWords&) = default;
};

/// What is hidden from a masked language model.
struct Hiding {
  HiddenWords words, english;  ///< english: words in Latin letters
  /// Of what is hidden: shown as [MASK]; as another token of its kind; the rest as it is.
  double masked = 0.8;
  double replaced = 0.1;
  /// Of the places between words: where a [MASK] stands for no word and is not asked for, so that no word lies at a
  /// fixed distance from another.
  double gaps = 0.0;
  double patches = 0.5;  ///< of moving pictures: patches, each by itself
  double halves = 0.0;   ///< of moving pictures: patches of which a half is hidden
};

/// How a picture changes by chance in training.
struct Change {
  std::int64_t shift = 0;  ///< moved by up to so many pixels, each way
  bool mirror = false;     ///< left and right change places in every other one
};

/// Texts of one kind, and how many of their windows each batch holds.
struct Share {
  std::shared_ptr<const TextData> text;
  std::int64_t windows = 1;
};

/// Next-token prediction over windows of a stream; the last row of a window has no label.
std::unique_ptr<Source> causal_source(std::vector<Share> shares, std::uint64_t seed);

/// Masked language modelling over windows between [CLS] and [SEP]. A word is hidden as one or not at all, but for its
/// ending. `vocabulary` bounds what replaces a hidden token.
std::unique_ptr<Source> masked_source(std::vector<Share> shares,
                                      const Hiding& hiding,
                                      std::uint64_t seed,
                                      std::int32_t vocabulary);

}  // namespace headscope::train
