#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "tokenizers/decoder.h"
#include "tokenizers/regex.h"

/// The stages that the decoders of tokenizer.json are made of.
namespace headscope::tokenizers {

/// A stage that can do nothing before a token is whole.
class WholeTokens : public DecodeStage {
 public:
  explicit WholeTokens(DecodeStage& next) : next_(next) {}
  void piece(std::string_view text) final { token_ += text; }
  void end_token() final {
    token(token_);
    token_.clear();
  }
  void end_text() override { next_.end_text(); }

 protected:
  virtual void token(std::string& text) = 0;
  void send(std::string_view text) {
    next_.piece(text);
    next_.end_token();
  }
  DecodeStage& next_;

 private:
  std::string token_;
};

/// Tokens with a space between them.
class SpacesStage final : public WholeTokens {
 public:
  using WholeTokens::WholeTokens;

 protected:
  void token(std::string& text) override;

 private:
  bool first_ = true;
};

/// Pieces that continue a word lose their prefix, others get a space before them. Cleaning looks at
/// one token at a time, as in Hugging Face tokenizers.
class WordPieceStage final : public WholeTokens {
 public:
  WordPieceStage(DecodeStage& next, std::string prefix, bool cleanup);

 protected:
  void token(std::string& text) override;

 private:
  std::string prefix_;
  bool cleanup_, first_ = true;
};

/// Characters that stand for bytes become these, and the bytes UTF-8: one U+FFFD for each stretch
/// that is not (the longest that could have begun a character). All tokens become one.
class ByteLevelStage final : public WholeTokens {
 public:
  using WholeTokens::WholeTokens;
  void end_text() override;

 protected:
  void token(std::string& text) override;

 private:
  void decode(bool last);
  std::string bytes_;  // not yet a whole character
};

/// Tokens <0x00>..<0xFF> become bytes. A row of them is UTF-8 as a whole, or else one U+FFFD each:
/// so a row stays behind until something else comes.
class ByteFallbackStage final : public WholeTokens {
 public:
  using WholeTokens::WholeTokens;
  void end_text() override;

 protected:
  void token(std::string& text) override;

 private:
  void finish_row();
  std::string row_;
};

/// All tokens become one.
class FuseStage final : public DecodeStage {
 public:
  explicit FuseStage(DecodeStage& next) : next_(next) {}
  void piece(std::string_view text) override { next_.piece(text); }
  void end_token() override {}
  void end_text() override;

 private:
  DecodeStage& next_;
};

/// The suffix of words becomes a space, in the last token nothing.
class SuffixStage final : public WholeTokens {
 public:
  SuffixStage(DecodeStage& next, std::string suffix);
  void end_text() override;

 protected:
  void token(std::string& text) override;

 private:
  std::string suffix_, waiting_;
  bool has_waiting_ = false;
};

/// Of a row of equal tokens one stays; padding goes, delimiters become spaces.
class CtcStage final : public WholeTokens {
 public:
  CtcStage(DecodeStage& next, std::string padding, std::string delimiter, bool cleanup);

 protected:
  void token(std::string& text) override;

 private:
  std::string padding_, delimiter_, last_;
  bool cleanup_, first_ = true;
};

/// The mark becomes a space; in the first token nothing, when one had been put in front.
class MetaspaceStage final : public WholeTokens {
 public:
  MetaspaceStage(DecodeStage& next, char32_t mark, bool drop_first);

 protected:
  void token(std::string& text) override;

 private:
  std::string mark_;
  bool drop_;
};

/// Takes at most `start` equal characters off the begin of a token and `stop` off its end.
class StripStage final : public DecodeStage {
 public:
  StripStage(DecodeStage& next, char32_t content, std::size_t start, std::size_t stop);
  void piece(std::string_view text) override;
  void end_token() override;
  void end_text() override { next_.end_text(); }

 private:
  DecodeStage& next_;
  std::string content_;
  std::size_t start_, stop_;
  std::size_t left_;  // how many more may be taken off the begin
  std::string tail_;  // characters at the end that may have to go
};

/// A text becomes another one within a token.
class ReplaceStage final : public DecodeStage {
 public:
  ReplaceStage(DecodeStage& next, std::string old, std::string fresh);
  void piece(std::string_view text) override;
  void end_token() override;
  void end_text() override { next_.end_text(); }

 private:
  DecodeStage& next_;
  std::string old_, fresh_, open_;  // open_: may be the begin of old_
};

/// The matches of a regex within a token become a text.
class ReplaceRegexStage final : public WholeTokens {
 public:
  ReplaceRegexStage(DecodeStage& next, Regex old, std::string fresh);

 protected:
  void token(std::string& text) override;

 private:
  Regex old_;
  std::string fresh_;
};

}  // namespace headscope::tokenizers
