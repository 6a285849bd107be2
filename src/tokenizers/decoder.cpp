#include "tokenizers/decoder.h"

#include <array>
#include <functional>
#include <utility>
#include <vector>

#include "tokenizers/decode_stages.h"
#include "tokenizers/kinds.h"
#include "tokenizers/part_options.h"

namespace headscope::tokenizers {
namespace {

using Made = std::unique_ptr<const Decoder>;
using MadeStage = std::unique_ptr<DecodeStage>;

/// A decoder that is nothing but a way to make its stage.
class Simple : public Decoder {
 public:
  explicit Simple(std::function<MadeStage(DecodeStage&)> start) : start_(std::move(start)) {}
  [[nodiscard]] MadeStage start(DecodeStage& next) const override { return start_(next); }

 private:
  std::function<MadeStage(DecodeStage&)> start_;
};

/// A decoder whose stage is a Stage(next, options...).
template <typename Stage, typename... Options>
Made simple(Options... options) {
  return std::make_unique<const Simple>([options...](DecodeStage& next) -> MadeStage {
    return std::make_unique<Stage>(next, options...);
  });
}

Made make_word_piece(const json::Value& part, std::string_view where) {
  return simple<WordPieceStage>(json::get_or<std::string>(part, "prefix", "##", where),
                                json::get_or<bool>(part, "cleanup", true, where));
}

Made make_byte_level(const json::Value& /*part*/, std::string_view /*where*/) {
  return simple<ByteLevelStage>();
}

Made make_byte_fallback(const json::Value& /*part*/, std::string_view /*where*/) {
  return simple<ByteFallbackStage>();
}

Made make_fuse(const json::Value& /*part*/, std::string_view /*where*/) {
  return simple<FuseStage>();
}

Made make_bpe(const json::Value& part, std::string_view where) {
  return simple<SuffixStage>(json::get_or<std::string>(part, "suffix", "</w>", where));
}

Made make_ctc(const json::Value& part, std::string_view where) {
  return simple<CtcStage>(json::get_or<std::string>(part, "pad_token", "<pad>", where),
                          json::get_or<std::string>(part, "word_delimiter_token", "|", where),
                          json::get_or<bool>(part, "cleanup", true, where));
}

Made make_metaspace(const json::Value& part, std::string_view where) {
  return simple<MetaspaceStage>(metaspace_mark(part, where),
                                metaspace_scheme(part, where) != "never");
}

Made make_strip(const json::Value& part, std::string_view where) {
  return simple<StripStage>(require_character(part, "content", where),
                            json::get_or<std::uint32_t>(part, "start", 0, where),
                            json::get_or<std::uint32_t>(part, "stop", 0, where));
}

Made make_replace(const json::Value& part, std::string_view where) {
  const auto content = json::require<std::string>(part, "content", where);
  const Regex pattern = require_pattern(part, where);  // checks both kinds
  const json::Value& given = require_part(part, "pattern", where);
  if (json::find(given, "String", where) == nullptr) {
    return simple<ReplaceRegexStage>(pattern, content);
  }
  return simple<ReplaceStage>(json::require<std::string>(given, "String", where), content);
}

/// Stages one behind the other.
class Chain : public DecodeStage {
 public:
  Chain(DecodeStage& next, const std::vector<Made>& steps) : first_(&next) {
    for (std::size_t i = steps.size(); i-- > 0;) {
      stages_.push_back(steps[i]->start(*first_));
      first_ = stages_.back().get();
    }
  }
  void piece(std::string_view text) override { first_->piece(text); }
  void end_token() override { first_->end_token(); }
  void end_text() override { first_->end_text(); }

 private:
  std::vector<MadeStage> stages_;
  DecodeStage* first_;
};

class Sequence : public Decoder {
 public:
  Sequence(const json::Value& part, std::string_view where) {
    for (const json::Value& one : require_array(part, "decoders", where)) {
      steps_.push_back(make_decoder(&one, where));
    }
  }
  [[nodiscard]] MadeStage start(DecodeStage& next) const override {
    return std::make_unique<Chain>(next, steps_);
  }

 private:
  std::vector<Made> steps_;
};

Made make_sequence(const json::Value& part, std::string_view where) {
  return std::make_unique<const Sequence>(part, where);
}

}  // namespace

Made make_decoder(const json::Value* part, std::string_view where) {
  if (part == nullptr) return simple<SpacesStage>();
  using Make = Made (*)(const json::Value&, std::string_view);
  static constexpr std::array<Kind<Make>, 10> kinds{{{"BPEDecoder", &make_bpe},
                                                     {"ByteFallback", &make_byte_fallback},
                                                     {"ByteLevel", &make_byte_level},
                                                     {"CTC", &make_ctc},
                                                     {"Fuse", &make_fuse},
                                                     {"Metaspace", &make_metaspace},
                                                     {"Replace", &make_replace},
                                                     {"Sequence", &make_sequence},
                                                     {"Strip", &make_strip},
                                                     {"WordPiece", &make_word_piece}}};
  const auto type = json::require<std::string>(*part, "type", where);
  return find_kind(kinds, type, "decoder", where).make(*part, where);
}

}  // namespace headscope::tokenizers
