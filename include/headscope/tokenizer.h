#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace headscope {

/// A half-open range [begin, end) of bytes of the text as given.
struct ByteRange {
  std::size_t begin = 0;
  std::size_t end = 0;
  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

/// A text as the model sees it. All vectors have one entry a token.
struct Encoding {
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> type_ids;  ///< 0 first text, 1 second
  std::vector<ByteRange>
      offsets;  ///< where the token stands in the original text; empty for added specials
  std::vector<std::string> tokens;  ///< as in the vocabulary ("##ing")
  std::vector<std::int32_t>
      words;  ///< number of the pre-token it is a piece of, -1 for special tokens
  std::vector<std::uint8_t>
      special;  ///< 1: put there by the post-processor or a special added token
};

/// A tokenizer read from a Hugging Face tokenizer.json: normaliser, pre-tokeniser, model,
/// post-processor, decoder and added tokens, as published. Immutable and safe to share among
/// threads. Now: BERT (BertNormalizer, BertPreTokenizer, WordPiece, TemplateProcessing /
/// BertProcessing).
class Tokenizer {
 public:
  /// A tokenizer.json, or a folder that holds one. Errors: kNotFound, kFormat, kUnsupported (names
  /// the part it does not know, and the parts it does).
  static Tokenizer load(const std::filesystem::path& path);
  /// From the text of a tokenizer.json. `name` is what errors call it.
  static Tokenizer parse(std::string_view json, std::string_view name);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Errors: kInput when the text is not UTF-8 (gives the byte offset). Truncation and padding that
  /// the file asks for are not applied. Cost: linear in the text.
  [[nodiscard]] Encoding encode(std::string_view text, bool add_special = true) const;
  /// Two texts, as the post-processor joins them.
  [[nodiscard]] Encoding encode(std::string_view first,
                                std::string_view second,
                                bool add_special = true) const;
  /// Errors: kRange for an id outside the vocabulary.
  [[nodiscard]] std::string decode(std::span<const std::int32_t> ids,
                                   bool skip_special = false) const;

  [[nodiscard]] std::int32_t vocabulary_size() const;
  /// -1 when there is no such token.
  [[nodiscard]] std::int32_t id_of(std::string_view token) const;
  /// Errors: kRange.
  [[nodiscard]] const std::string& token_of(std::int32_t id) const;
  /// The id that unknown text becomes, -1 when there is none.
  [[nodiscard]] std::int32_t unknown_id() const;

 private:
  struct Parts;
  explicit Tokenizer(std::unique_ptr<const Parts> parts);
  std::unique_ptr<const Parts> parts_;
};

}  // namespace headscope
