#include "headscope/tokenizer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "formats/files.h"
#include "formats/json.h"
#include "headscope/error.h"
#include "tokenizers/kinds.h"
#include "tokenizers/marian.h"
#include "tokenizers/tokenizer_file.h"
#include "tokenizers/tokenizer_parts.h"

namespace headscope {

using namespace tokenizers;  // NOLINT: the parts of this very class

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

/// The end of the way of decoding.
class Text final : public DecodeStage {
 public:
  void piece(std::string_view text) override { text_ += text; }
  void end_token() override {}
  void end_text() override {}
  std::string text_;
};

}  // namespace

void Tokenizer::Parts::make(const json::Value& root, std::string_view name) {
  if (const auto* part = json::find(root, "normalizer", name)) {
    normalizer = make_normalizer(*part, name);
  }
  if (const auto* part = json::find(root, "pre_tokenizer", name)) {
    pre_tokenizer = make_pre_tokenizer(*part, name);
  }
  if (const auto* part = json::find(root, "post_processor", name)) {
    post_processor = make_post_processor(*part, name);
  }
  decoder = make_decoder(json::find(root, "decoder", name), name);
  if (const auto* list = json::find(root, "added_tokens", name)) {
    added = AddedTokens(*list, model->vocabulary(), normalizer.get(), name);
  }
}

std::string_view Tokenizer::Parts::known_token(std::int32_t id) const {
  if (const std::string* found = added.token_of(id)) return *found;
  if (const auto found = model->vocabulary().token_of(id)) return *found;
  throw Error(ErrorCode::kRange,
              fmt::format("[tokenizer] expected the id of one of {} tokens, found {}",
                          model->vocabulary().size() + added.beyond_vocabulary(),
                          id));
}

std::optional<std::string_view> Tokenizer::Parts::decoded_form(std::int32_t id,
                                                               bool skip_special) const {
  const std::string* form = added.form_of(id);
  const std::string_view token = form != nullptr ? *form : known_token(id);
  if (skip_special && added.is_special_form(token)) return std::nullopt;
  return token;
}

Tokenizer::Tokenizer(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(path, ignored);
  const auto file = folder ? path / "tokenizer.json" : path;
  if (folder && !std::filesystem::exists(file, ignored) &&
      std::filesystem::exists(path / "source.spm", ignored)) {
    const auto settings = path / "tokenizer_config.json";
    const bool has_settings = std::filesystem::exists(settings, ignored);
    return Tokenizer(make_marian({read_file(path / "source.spm"),
                                  read_file(path / "vocab.json"),
                                  has_settings ? read_file(settings) : std::string()}));
  }
  return parse(read_file(file), file.filename().string());
}

Tokenizer Tokenizer::parse(std::string_view text, std::string_view name) {
  const TokenizerFile file(text, name);
  const auto version = json::get_or<std::string>(file.root(), "version", "1.0", name);
  if (version != "1.0") {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[{}] expected version \"1.0\", found \"{}\"", name, version));
  }
  auto parts = std::make_unique<Parts>();
  parts->model = make_model(file.model(), name);
  parts->make(file.root(), name);
  return Tokenizer(std::move(parts));
}

Encoding Tokenizer::encode(std::string_view text, bool add_special) const {
  Encoding first = parts_->encode(text, 0);
  if (!parts_->post_processor) return first;
  return parts_->post_processor->join(std::move(first), nullptr, add_special);
}

Encoding Tokenizer::encode_pair(std::string_view first,
                                std::string_view second,
                                bool add_special) const {
  Encoding one = parts_->encode(first, 0);
  Encoding two = parts_->encode(second, 1);
  if (parts_->post_processor)
    return parts_->post_processor->join(std::move(one), &two, add_special);
  append(one, std::move(two));
  return one;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  Text out;
  const auto stage = parts_->decoder->start(out);
  for (const std::int32_t id : ids) {
    const auto token = parts_->decoded_form(id, skip_special);
    if (!token) continue;
    stage->piece(*token);
    stage->end_token();
  }
  stage->end_text();
  return std::move(out.text_);
}

std::int32_t Tokenizer::vocabulary_size() const {
  return static_cast<std::int32_t>(parts_->model->vocabulary().size() +
                                   parts_->added.beyond_vocabulary());
}

std::int32_t Tokenizer::id_of(std::string_view token) const {
  const std::int32_t id = parts_->added.id_of(token);
  return id >= 0 ? id : parts_->model->vocabulary().id_of(token);
}

std::string Tokenizer::token_of(std::int32_t id) const {
  return std::string(parts_->known_token(id));
}

std::int32_t Tokenizer::unknown_id() const { return parts_->model->unknown_id(); }

struct TokenStream::State {
  const Tokenizer::Parts& parts;
  bool skip_special;
  Text out;
  std::unique_ptr<DecodeStage> stage;
  std::string last;  // what the caller looks at
};

TokenStream::TokenStream(const Tokenizer& tokenizer, bool skip_special)
    : state_(new State{*tokenizer.parts_, skip_special, {}, nullptr, {}}) {
  state_->stage = state_->parts.decoder->start(state_->out);
}
TokenStream::TokenStream(TokenStream&&) noexcept = default;
TokenStream& TokenStream::operator=(TokenStream&&) noexcept = default;
TokenStream::~TokenStream() = default;

std::string_view TokenStream::push(std::int32_t id) {
  const auto token = state_->parts.decoded_form(id, state_->skip_special);
  if (token) {
    state_->stage->piece(*token);
    state_->stage->end_token();
  }
  state_->last.clear();
  state_->last.swap(state_->out.text_);
  return state_->last;
}

std::string_view TokenStream::flush() {
  state_->stage->end_text();
  state_->last.clear();
  state_->last.swap(state_->out.text_);
  state_->stage = state_->parts.decoder->start(state_->out);
  return state_->last;
}

}  // namespace headscope
