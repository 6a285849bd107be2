#include "headscope/transcribe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "headscope/generate.h"

namespace headscope {

namespace {

// Tokens that tell Whisper what to do. Source  Radford 2022 s2.3.
struct Commands {
  std::int32_t start = -1, translate = -1, transcribe = -1, no_timestamps = -1;
  bool languages = false;  // models of English alone have a vocabulary one smaller and no use for the tokens

  explicit Commands(const Model& model) {
    const Tokenizer& t = model.tokenizer();
    start = t.id_of("<|startoftranscript|>");
    translate = t.id_of("<|translate|>");
    transcribe = t.id_of("<|transcribe|>");
    no_timestamps = t.id_of("<|notimestamps|>");
    constexpr std::int64_t kSeveralLanguages = 51865;
    languages = model.vocabulary() >= kSeveralLanguages && translate > start && transcribe >= 0;
    if (start >= 0 && no_timestamps >= 0) return;
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[transcribe] expected a tokenizer with <|{}|>, found none",
                            start < 0 ? "startoftranscript" : "notimestamps"));
  }
};

std::string spelled(const Model& model, std::int32_t language) {
  const std::string token = model.tokenizer().token_of(language);
  return token.size() > 4 ? token.substr(2, token.size() - 4) : token;
}

// The likeliest of the languages, or the one that was asked for.
std::int32_t choose_language(const Model& model,
                             const Commands& commands,
                             Generator& generator,
                             const Tokens& heard,
                             const std::string& wanted) {
  const std::int32_t first = commands.start + 1;
  const std::int32_t end = std::min(commands.translate, commands.transcribe);
  if (!wanted.empty()) {
    const std::int32_t id = model.tokenizer().id_of("<|" + wanted + "|>");
    if (id >= first && id < end) return id;
    std::string known;
    for (std::int32_t n = first; n < end; ++n) known += (n == first ? "" : ", ") + spelled(model, n);
    throw Error(ErrorCode::kUsage,
                fmt::format("[transcribe] expected a language among {}, found {}", known, wanted));
  }
  generator.read(heard, std::array{commands.start});
  const auto logits = generator.logits().subspan(static_cast<std::size_t>(first),
                                                 static_cast<std::size_t>(end - first));
  return first + static_cast<std::int32_t>(std::ranges::max_element(logits) - logits.begin());
}

// Where a window that begins at `at` ends: at the last sample, or in the middle of the quietest tenth of a
// second of the last sixth of what fits.
std::size_t end_of_window(const Audio& audio, std::size_t at, std::size_t most) {
  if (audio.samples.size() - at <= most) return audio.samples.size();
  const auto step = static_cast<std::size_t>(audio.rate) / 20;
  std::size_t best = at + most;
  double least = -1.0;
  for (std::size_t from = at + most - most / 6; from + 2 * step <= at + most; from += step) {
    double loud = 0.0;
    for (std::size_t n = from; n < from + 2 * step; ++n)
      loud += static_cast<double>(audio.samples[n]) * static_cast<double>(audio.samples[n]);
    if (least >= 0.0 && loud >= least) continue;
    least = loud;
    best = from + step;
  }
  return best;
}

void write_down(const Model& model,
                const Commands& commands,
                Generator& generator,
                const TranscribeOptions& options,
                Utterance& part) {
  TokenStream stream(model.tokenizer(), true);
  const auto give = [&](std::string_view piece) {
    part.text += piece;
    if (options.on_text && !piece.empty()) options.on_text(piece);
  };
  while (generator.step()) {
    const std::int32_t id = generator.answer().back();
    if (id > commands.no_timestamps) continue;  // a time; none was asked for
    part.ids.push_back(id);
    give(stream.push(id));
  }
  give(stream.flush());
}

}  // namespace

Transcript transcribe(const Model& model, const Audio& audio, const TranscribeOptions& options) {
  if (!model.hears()) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[transcribe] expected a model that hears, found {}", model.family()));
  }
  if (audio.samples.empty()) throw Error(ErrorCode::kInput, "[transcribe] expected sound, found none");
  const Commands commands(model);
  if (!commands.languages && (!options.language.empty() || options.translate)) {
    throw Error(ErrorCode::kUsage,
                fmt::format("[transcribe] expected no choice of language for a model of English alone, found {}",
                            options.translate ? "a translation" : options.language));
  }
  GenerateOptions generate;
  generate.most = options.most > 0 ? options.most : model.answer_positions() / 2;
  generate.edits = options.edits;
  Generator generator(model, generate);
  const MelOptions mel;
  const Audio own = resample(audio, mel.rate);
  const auto most = static_cast<std::size_t>(2 * model.positions() * mel.hop);
  Transcript out;
  std::vector<std::int32_t> begin{commands.start};
  for (std::size_t at = 0; at < own.samples.size();) {
    const std::size_t end = end_of_window(own, at, most);
    const auto from = own.samples.begin();
    const Audio window{{from + static_cast<std::ptrdiff_t>(at), from + static_cast<std::ptrdiff_t>(end)}, own.rate};
    const Tokens heard = model.tokens(window);
    if (at == 0) {
      if (commands.languages) {
        begin.push_back(choose_language(model, commands, generator, heard, options.language));
        out.language = spelled(model, begin.back());
        begin.push_back(options.translate ? commands.translate : commands.transcribe);
      }
      begin.push_back(commands.no_timestamps);
    }
    generator.read(heard, begin);
    Utterance part{static_cast<double>(at) / own.rate, static_cast<double>(end) / own.rate, {}, {}};
    write_down(model, commands, generator, options, part);
    out.text += part.text;
    out.parts.push_back(std::move(part));
    at = end;
  }
  return out;
}

}  // namespace headscope
