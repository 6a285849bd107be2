#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
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
  std::vector<std::int32_t> type_ids;  ///< as the post-processor says; else 0 first text, 1 second
  /// Where the token stands in the text it comes from, on code point boundaries, never backwards.
  /// Tokens of the post-processor stand nowhere: [0, 0).
  std::vector<ByteRange> offsets;
  std::vector<std::string> tokens;  ///< as in the vocabulary ("##ing")
  /// Number of the word (pre-token) that the token is a piece of, from 0 in each text; an added
  /// token found in the text is a word of its own. -1 for tokens of the post-processor.
  std::vector<std::int32_t> words;
  /// 1: put there by the post-processor, or a special added token found in the text.
  std::vector<std::uint8_t> special;
};

/// A tokenizer read from a Hugging Face tokenizer.json: normaliser, pre-tokeniser, model (BPE,
/// Unigram, WordPiece, WordLevel), post-processor, decoder and added tokens, as published. Ids,
/// offsets and decoded text are those of Hugging Face tokenizers 0.23. Immutable and safe to share
/// among threads.
class Tokenizer {
 public:
  /// A tokenizer.json, or a folder with one or with Marian's files. Errors: kNotFound, kIo, as parse.
  static Tokenizer load(const std::filesystem::path& path);
  /// From the text of a tokenizer.json. `name` is what errors call it.
  /// Errors: kFormat; kUnsupported (names the part it does not know, and the parts it does);
  /// kResources (a text beyond 512 MiB).
  static Tokenizer parse(std::string_view json, std::string_view name);

  /// From the metadata of a GGUF file (Gguf::metadata): tokenizer.ggml.model gpt2 (byte-level BPE,
  /// split as tokenizer.ggml.pre names), llama (SentencePiece BPE), bert, t5. Control tokens are
  /// special added tokens. Errors: kFormat, kUnsupported, as parse.
  static Tokenizer from_gguf(const nlohmann::json& metadata, std::string_view name);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Errors: kInput when the text is not UTF-8 (gives the byte offset); kResources when a Replace
  /// of the file blows the text up. Truncation and padding that the file asks for are not applied.
  /// Cost: linear in the text, whatever is in it.
  [[nodiscard]] Encoding encode(std::string_view text, bool add_special = true) const;
  /// Two texts, as the post-processor joins them; one behind the other when there is none. Offsets
  /// and words count in each text for itself. Errors: as encode.
  [[nodiscard]] Encoding encode_pair(std::string_view first,
                                     std::string_view second,
                                     bool add_special = true) const;
  /// The text of tokens. With `skip_special`, special added tokens are left out.
  /// Errors: kRange for an id outside the vocabulary.
  [[nodiscard]] std::string decode(std::span<const std::int32_t> ids,
                                   bool skip_special = false) const;

  /// How many tokens there are, added ones included. Ids may have gaps, so one may be larger.
  [[nodiscard]] std::int32_t vocabulary_size() const;
  /// -1 when there is no such token.
  [[nodiscard]] std::int32_t id_of(std::string_view token) const;
  /// Errors: kRange.
  [[nodiscard]] std::string token_of(std::int32_t id) const;
  /// The id that unknown text becomes, -1 when there is none.
  [[nodiscard]] std::int32_t unknown_id() const;

  struct Parts;  ///< what it is made of; nobody else's business

 private:
  friend class TokenStream;
  explicit Tokenizer(std::unique_ptr<const Parts> parts);
  std::unique_ptr<const Parts> parts_;
};

/// Decodes tokens as they come. What it gives, put together, is what Tokenizer::decode gives for
/// all of them at once, and no piece ends inside of a character. The tokenizer must outlive it.
class TokenStream {
 public:
  explicit TokenStream(const Tokenizer& tokenizer, bool skip_special = false);
  TokenStream(TokenStream&&) noexcept;
  TokenStream& operator=(TokenStream&&) noexcept;
  ~TokenStream();

  /// The text that this token makes certain: often its own, sometimes none yet (bytes of a
  /// character that more will follow). Good until the next call. Errors: kRange, as decode.
  std::string_view push(std::int32_t id);
  /// The rest of the text, which ends here; the next token begins another one.
  std::string_view flush();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace headscope
