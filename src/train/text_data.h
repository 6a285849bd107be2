#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "headscope/safetensors.h"
#include "headscope/tokenizer.h"

/// Texts as token ids, made once and then mapped from a cache.
namespace headscope::train {

/// What a token is in its word; for hiding endings.
enum TokenKind : std::uint8_t {
  kMark = 0,      ///< punctuation, digits, other scripts
  kStem = 1,      ///< begins a word
  kStemMore = 2,  ///< goes on with its stem
  kEnding = 3,    ///< is its ending, as the stemmer says
  kFunction = 4,  ///< a word of a closed class in one token
  kKindMask = 7,
  kIsEnglish = 16,    ///< flag: of a word in Latin letters
  kEndsSentence = 32  ///< flag: a sentence or line ends behind it
};

struct TextOptions {
  /// Windows end where sentences do, if one ends in their second half; else they are cut between words. Otherwise the
  /// text is one stream with [SEP] behind every line, cut into windows of equal length.
  bool sentences = true;
  bool kinds = false;           ///< also find what each token is
  std::int64_t window = 62;     ///< tokens, without [CLS] and [SEP]
  std::filesystem::path cache;  ///< a folder; made when it is not there
  /// Bytes done of all, from the thread that called.
  std::function<void(std::size_t done, std::size_t all)> progress;
};

/// How often the tokenizer parts words where the stemmer does, counted over running words of letters.
struct Borders {
  std::int64_t words = 0;
  std::int64_t with_ending = 0;  ///< words that the stemmer parts
  std::int64_t kept = 0;         ///< of these, those whose ending is exactly the last token
  std::int64_t whole = 0;        ///< words that it does not part, and that are one token
  std::int64_t tokens = 0;       ///< tokens of all words
};

/// A text to learn from. Errors: those of read_text; kInput, naming the file, for one that is not
/// UTF-8 or holds nothing but white space.
std::string read_utf8(const std::filesystem::path& path);

/// One text file as windows of ids.
class TextData {
 public:
  /// From the cache, or made and put there (written whole or not at all). The cache knows a text by its contents, the
  /// tokenizer and the options.
  /// `tokenizer_json` is the text that `tokenizer` was parsed from.
  /// Errors: those of read_text, Tokenizer::encode and write_safetensors; kInput for a text without tokens.
  static TextData of(const std::filesystem::path& text,
                     const Tokenizer& tokenizer,
                     std::string_view tokenizer_json,
                     const TextOptions& options);

  [[nodiscard]] std::int64_t windows() const {
    return static_cast<std::int64_t>(starts_.size()) - 1;
  }
  [[nodiscard]] std::int64_t tokens() const { return static_cast<std::int64_t>(ids_.size()); }
  [[nodiscard]] std::span<const std::int32_t> ids(std::int64_t window) const;
  /// Empty when kinds were not asked for.
  [[nodiscard]] std::span<const std::uint8_t> kinds(std::int64_t window) const;
  [[nodiscard]] const Borders& borders() const { return borders_; }

 private:
  TextData() = default;
  void open(const std::filesystem::path& path);

  std::shared_ptr<const Safetensors> file_;
  std::span<const std::int32_t> ids_;
  std::span<const std::uint8_t> kinds_;
  std::span<const std::int64_t> starts_;  // [windows + 1]
  Borders borders_;
};

}  // namespace headscope::train
