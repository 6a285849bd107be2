#include "headscope/tokenizer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "formats/files.h"
#include "formats/json.h"
#include "headscope/error.h"
#include "tokenizers/added_tokens.h"
#include "tokenizers/aligned_text.h"
#include "tokenizers/decoder.h"
#include "tokenizers/kinds.h"
#include "tokenizers/model.h"
#include "tokenizers/normalizer.h"
#include "tokenizers/post_processor.h"
#include "tokenizers/pre_tokenizer.h"

namespace headscope {

using namespace tokenizers;  // NOLINT: the parts of this very class

/// The parts of a tokenizer.json, in the order a text meets them. Those that are null do nothing.
struct Tokenizer::Parts {
  std::unique_ptr<const Normalizer> normalizer;
  std::unique_ptr<const PreTokenizer> pre_tokenizer;
  std::unique_ptr<const Model> model;
  std::unique_ptr<const PostProcessor> post_processor;
  std::unique_ptr<const Decoder> decoder;
  AddedTokens added;

  [[nodiscard]] const std::string* token_of(std::int32_t id) const {
    const std::string* found = added.token_of(id);
    return found != nullptr ? found : model->vocabulary().token_of(id);
  }
  [[nodiscard]] const std::string& known_token(std::int32_t id) const;
  [[nodiscard]] Encoding encode_text(std::string_view text, std::int32_t type_id) const;
  void encode_segment(AlignedText segment, Encoding& out, std::int32_t& word) const;
  void encode_words(AlignedText text, Encoding& out, std::int32_t& word) const;
  void put(std::int32_t id, ByteRange where, std::int32_t word, Encoding& out) const;
};

void Tokenizer::Parts::put(std::int32_t id,
                           ByteRange where,
                           std::int32_t word,
                           Encoding& out) const {
  out.ids.push_back(id);
  out.offsets.push_back(where);
  out.tokens.push_back(*token_of(id));
  out.words.push_back(word);
  out.special.push_back(added.is_special(id) ? 1 : 0);
}

/// The last steps: split into words, and words into tokens.
void Tokenizer::Parts::encode_words(AlignedText text, Encoding& out, std::int32_t& word) const {
  if (text.size() == 0) return;
  const Span all{0, text.size()};
  Words words{std::move(text), {all}};
  if (pre_tokenizer) pre_tokenizer->split(words);
  std::vector<Piece> pieces;
  for (const Span& span : words.spans) {
    pieces.clear();
    model->tokenize(words.text.view(span), pieces);
    for (const Piece& piece : pieces) {
      put(piece.id,
          words.text.origin({span.begin + piece.begin, span.begin + piece.end}),
          word,
          out);
    }
    ++word;
  }
}

/// Text between added tokens: normalise it, then look for added tokens of normalised text.
void Tokenizer::Parts::encode_segment(AlignedText segment,
                                      Encoding& out,
                                      std::int32_t& word) const {
  if (normalizer) normalizer->apply(segment);
  for (const Segment& part : added.split_normalized(segment)) {
    if (part.id >= 0) {
      put(part.id, segment.origin(part.span), word++, out);
    } else {
      encode_words(segment.slice(part.span), out, word);
    }
  }
}

Encoding Tokenizer::Parts::encode_text(std::string_view text, std::int32_t type_id) const {
  const AlignedText all = tokenizers::decode(text);
  Encoding out;
  std::int32_t word = 0;
  for (const Segment& part : added.split_raw(all)) {
    if (part.id >= 0) {
      put(part.id, all.origin(part.span), word++, out);
    } else {
      encode_segment(all.slice(part.span), out, word);
    }
  }
  out.type_ids.assign(out.ids.size(), type_id);
  return out;
}

const std::string& Tokenizer::Parts::known_token(std::int32_t id) const {
  const std::string* found = token_of(id);
  if (found == nullptr) {
    throw Error(ErrorCode::kRange,
                fmt::format("[tokenizer] expected the id of one of {} tokens, found {}",
                            model->vocabulary().size() + added.beyond_vocabulary(),
                            id));
  }
  return *found;
}

namespace {

std::string read_file(const std::filesystem::path& path) {
  const files::Opened file = files::open_to_read(path);
  std::string text(file.size, '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t got = ::read(file.descriptor.get(), text.data() + done, text.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) files::fail(path, "read", errno);
    if (got == 0) break;  // became shorter meanwhile
    done += static_cast<std::size_t>(got);
  }
  text.resize(done);
  return text;
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  std::error_code ignored;
  const auto file = std::filesystem::is_directory(path, ignored) ? path / "tokenizer.json" : path;
  return parse(read_file(file), file.filename().string());
}

Tokenizer Tokenizer::parse(std::string_view text, std::string_view name) {
  const json::Value root = json::parse(text, name);
  const auto version = json::get_or<std::string>(root, "version", "1.0", name);
  if (version != "1.0") {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[{}] expected version \"1.0\", found \"{}\"", name, version));
  }
  auto parts = std::make_unique<Parts>();
  parts->model = make_model(require_part(root, "model", name), name);
  if (const auto* part = json::find(root, "normalizer", name)) {
    parts->normalizer = make_normalizer(*part, name);
  }
  if (const auto* part = json::find(root, "pre_tokenizer", name)) {
    parts->pre_tokenizer = make_pre_tokenizer(*part, name);
  }
  if (const auto* part = json::find(root, "post_processor", name)) {
    parts->post_processor = make_post_processor(*part, name);
  }
  if (const auto* part = json::find(root, "decoder", name)) {
    parts->decoder = make_decoder(*part, name);
  }
  if (const auto* list = json::find(root, "added_tokens", name)) {
    parts->added = AddedTokens(*list, parts->model->vocabulary(), parts->normalizer.get(), name);
  }
  return Tokenizer(std::move(parts));
}

Encoding Tokenizer::encode(std::string_view text, bool add_special) const {
  Encoding first = parts_->encode_text(text, 0);
  if (!parts_->post_processor) return first;
  return parts_->post_processor->join(first, nullptr, add_special);
}

Encoding Tokenizer::encode_pair(std::string_view first,
                                std::string_view second,
                                bool add_special) const {
  Encoding one = parts_->encode_text(first, 0);
  const Encoding two = parts_->encode_text(second, 1);
  if (parts_->post_processor) return parts_->post_processor->join(one, &two, add_special);
  append(one, two);
  return one;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  std::vector<std::string_view> tokens;
  tokens.reserve(ids.size());
  for (const std::int32_t id : ids) {
    const std::string* form = parts_->added.form_of(id);
    const std::string& token = form != nullptr ? *form : parts_->known_token(id);
    if (!skip_special || !parts_->added.is_special_form(token)) tokens.emplace_back(token);
  }
  if (parts_->decoder) return parts_->decoder->decode(tokens);
  return fmt::format("{}", fmt::join(tokens, " "));
}

std::int32_t Tokenizer::vocabulary_size() const {
  return static_cast<std::int32_t>(parts_->model->vocabulary().size() +
                                   parts_->added.beyond_vocabulary());
}

std::int32_t Tokenizer::id_of(std::string_view token) const {
  const std::int32_t id = parts_->added.id_of(token);
  return id >= 0 ? id : parts_->model->vocabulary().id_of(token);
}

const std::string& Tokenizer::token_of(std::int32_t id) const { return parts_->known_token(id); }

std::int32_t Tokenizer::unknown_id() const { return parts_->model->unknown_id(); }

}  // namespace headscope
