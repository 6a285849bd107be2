#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

/// Tokenizers made from texts, as the text of a tokenizer.json that this engine and Hugging Face read.
namespace headscope::train {

/// The special tokens of every tokenizer made here, ids 0..4 in this order.
inline constexpr std::string_view kSpecials[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
enum Special : std::int32_t { kPad, kUnknown, kClass, kSeparator, kMask, kSpecialCount };

struct SentencePieceOptions {
  bool bpe = false;              ///< else Unigram
  std::int32_t size = 8000;      ///< tokens, special ones included
  std::int64_t lines = 500'000;  ///< so many lines are drawn at most
};

/// SentencePiece over the lines of texts, without normalisation.
/// Shapes  `model`, when given, receives SentencePiece's own file: its ids are those of the tokenizer.json.
/// Errors  kInput (no text, or too little for that many tokens).
/// Source  Kudo & Richardson 2018; Kudo 2018 (Unigram); Sennrich 2016 (BPE).
std::string sentencepiece_tokenizer(const std::vector<std::string>& texts,
                                    const SentencePieceOptions& options,
                                    std::string* model = nullptr);

/// Words in small letters (е for ё), split as BertPreTokenizer does, with how often they come.
using WordCounts = std::unordered_map<std::string, std::int64_t>;
void count_words(std::string_view text, WordCounts& counts);

/// WordPiece whose tokens are stems, and endings that continue them ("молод", "##ому"): taking the longest token it
/// splits running words where the stemmer does. A stem that would take the beginning of other words' endings more
/// often than it stands for itself is left out. Rare stems are pieces that SentencePiece chooses.
/// Cost    some seconds for 10^6 different words.  Errors: kInput (no words; fewer tokens than letters need).
std::string stem_tokenizer(const WordCounts& counts, std::int32_t size);

}  // namespace headscope::train
