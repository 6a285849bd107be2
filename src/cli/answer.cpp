// Answers of models that foretell tokens: one, or a talk.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/json_writer.h"
#include "cli/run.h"
#include "headscope/chat_template.h"
#include "models/network.h"

namespace headscope::cli {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Message {
  std::string role;
  std::string content;
};

// Where one head looked most, the first key aside (many heads rest there).
struct Look {
  HeadId head;
  std::int64_t key = 0;
  float weight = 0.0F;
};

// One token of an answer.
struct Token {
  std::int32_t id = 0;
  std::string text;
  std::vector<Look> looks;
  std::optional<double> logprob;  // nats, of the model's own shares, before temperature and cuts
};

struct Answer {
  std::string text;
  std::vector<Token> tokens;
  std::size_t prompt_tokens = 0;
  double prompt_seconds = 0.0;
  double seconds = 0.0;
  Ended ended = Ended::kNot;
  bool stopped_by_text = false;
};

std::string render(const Call& call, const Model& model, const std::vector<Message>& messages) {
  const GenerationConfig& config = model.generation();
  if (config.chat_template.empty())
    throw Error(ErrorCode::kUnsupported,
                say(call.screen.lang, Word::kRunNoTemplate, clean(model.name())));
  nlohmann::json list = nlohmann::json::array();
  for (const Message& message : messages)
    list.push_back({{"role", message.role}, {"content", message.content}});
  ChatOptions options;
  options.bos_token = config.bos_token;
  options.eos_token = config.eos_token;
  const std::string dumped = list.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return ChatTemplate::parse(config.chat_template).render(dumped, options);
}

// The tokens of a prompt that fit with room for an answer.
std::vector<std::int32_t> shortened(const Call& call,
                                    const Model& model,
                                    Encoding encoding,
                                    const RunWishes& wishes,
                                    std::int64_t positions) {
  std::vector<std::int32_t> ids = std::move(encoding.ids);
  if (ids.empty()) throw Error(ErrorCode::kInput, say(call.screen.lang, Word::kRunEmpty));
  const auto most = static_cast<std::size_t>(positions);
  if (ids.size() <= most) return ids;
  if (!wishes.truncate && !wishes.window) {
    throw Error(ErrorCode::kInput,
                say(call.screen.lang, Word::kRunTooLong, positions, ids.size(), ids.size() - most));
  }
  // An encoder-decoder's answer takes no room of the prompt. A token that begins all texts stays.
  const std::size_t answer =
      model.encoder_layers() > 0
          ? 0
          : std::min(most / 2, static_cast<std::size_t>(wishes.generate.most));
  const auto room = static_cast<std::ptrdiff_t>(most - answer);
  const std::ptrdiff_t first = room > 1 && (wishes.window || encoding.special.front() != 0) ? 1 : 0;
  ids.erase(ids.begin() + first, ids.end() - (room - first));
  return ids;
}

// Of an encoder-decoder: where its cross attention looked, in the prompt.
std::vector<Look> looks_of(const Generator& generator) {
  constexpr std::size_t kMost = 3;
  const Sighting& sighting = generator.sighting();
  const std::int64_t length = generator.length();
  std::vector<Look> all;
  const bool across = sighting.encoder_layers > 0;
  const int before = sighting.encoder_layers + sighting.decoder_layers;
  for (auto l = static_cast<std::size_t>(across ? before : 0); l < sighting.layers.size(); ++l) {
    const FocusRecord& record = sighting.layers[l];
    if (record.top_keys.empty()) continue;
    const auto keys = record.top_keys.view<std::int32_t, 4>();
    const auto weights = record.top_weights.view<float, 4>();
    const std::int64_t first = across ? 0 : length - record.keys;  // of what a window keeps
    const std::int64_t row = keys.shape[2] - 1;
    for (std::int64_t slot = 0; slot < keys.shape[1]; ++slot) {
      for (std::int64_t n = 0; n < keys.shape[3]; ++n) {
        const std::int64_t key = keys(0, slot, row, n) + first;
        if (keys(0, slot, row, n) < 0 || (!across && (key == 0 || key == length - 1))) continue;
        all.push_back({{static_cast<int>(l), record.heads[static_cast<std::size_t>(slot)]},
                       across ? key : generator.number_of(key),
                       weights(0, slot, row, n)});
        break;
      }
    }
  }
  const std::size_t n = std::min(kMost, all.size());
  std::partial_sort(all.begin(),
                    all.begin() + static_cast<std::ptrdiff_t>(n),
                    all.end(),
                    [](const Look& a, const Look& b) { return a.weight > b.weight; });
  all.resize(n);
  return all;
}

double log_share(std::span<const float> logits, std::int32_t id) {
  const auto largest = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double sum = 0.0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x) - largest);
  return static_cast<double>(logits[static_cast<std::size_t>(id)]) - largest - std::log(sum);
}

// Generates an answer to `ids`; `show` gets its text as it becomes certain.
template <typename F>
Answer generate(const Model& model,
                Generator& generator,
                const std::vector<std::int32_t>& ids,
                const RunWishes& wishes,
                F&& show) {
  Answer out;
  out.prompt_tokens = ids.size();
  const auto start = Clock::now();
  if (model.encoder_layers() > 0) {
    Tokens input;
    input.ids = Tensor(DType::kI32, {1, static_cast<std::int64_t>(ids.size())});
    std::copy(ids.begin(), ids.end(), input.ids.span<std::int32_t>().begin());
    generator.read(input);
  } else {
    generator.read(ids);
  }
  out.prompt_seconds = seconds_since(start);
  const auto begin = Clock::now();
  TokenStream stream(model.tokenizer(), true);
  StopText stops(wishes.stops);
  const auto give = [&](std::string_view piece) {
    const std::string sure = stops.push(piece);
    out.text += sure;
    if (!sure.empty()) show(sure);
  };
  const auto step = [&] {
    try {
      return generator.step();
    } catch (const Error&) {  // What is wrong goes on a line of its own.
      if (!out.text.empty()) show("\n");
      throw;
    }
  };
  while (!stops.stopped()) {
    // What the heads recorded belongs to the token that was run: it chose the next one.
    if (!step()) break;
    const std::int32_t id = generator.answer().back();
    Token token{id, std::string(stream.push(id)), {}, {}};
    if (wishes.surprise)
      token.logprob = log_share(generator.logits(), id);  // that it was drawn from
    if (wishes.look) token.looks = looks_of(generator);
    give(token.text);
    out.tokens.push_back(std::move(token));
  }
  if (!stops.stopped()) give(stream.flush());
  if (!stops.stopped()) {
    const std::string rest = stops.finish();
    out.text += rest;
    if (!rest.empty()) show(rest);
  }
  out.stopped_by_text = stops.stopped();
  out.ended = generator.ended();
  out.seconds = seconds_since(begin);
  return out;
}

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw Error(ErrorCode::kIo,
                "[output] expected to write the answer, found standard output closed");
}

std::string rate(std::size_t tokens, double seconds) {
  return figure(seconds > 0.0 ? static_cast<double>(tokens) / seconds : 0.0);
}

// Tokens that a table of positions has rows for; 0: there is none, and a context may be of any length.
std::int64_t rows_of_positions(const Model& model) {
  const models::Blueprint& b = model.network().blueprint();
  return b.position_rows > 0 ? b.positions : 0;
}

// Tokens of a prompt and an answer together; of an encoder-decoder the prompt's alone.
std::int64_t room_of_prompt(const Model& model, const Generator& generator) {
  return model.encoder_layers() > 0 ? model.positions() : generator.positions();
}

// What helps when the context is full: --context where there is more room, and a shorter prompt where it takes some.
Word advice(const Model& model, const Generator& generator) {
  const std::int64_t most = rows_of_positions(model);
  const bool more = most == 0 || generator.positions() < most;
  if (model.encoder_layers() > 0) return more ? Word::kRunPairFullMore : Word::kRunPairFull;
  return more ? Word::kRunFullMore : Word::kRunFull;
}

void report(const Call& call, const Answer& answer, Word when_full) {
  const std::string line =
      say(call.screen.lang,
          Word::kRunRates,
          counted(call.screen.lang, Word::kTokens, static_cast<std::int64_t>(answer.prompt_tokens)),
          rate(answer.prompt_tokens, answer.prompt_seconds),
          counted(call.screen.lang, Word::kTokens, static_cast<std::int64_t>(answer.tokens.size())),
          rate(answer.tokens.size(), answer.seconds));
  std::fprintf(stderr, "%s\n", line.c_str());
  if (answer.ended == Ended::kFull)
    std::fprintf(stderr, "%s\n", std::string(text(call.screen.lang, when_full)).c_str());
}

std::string look_lines(const Call& call,
                       const Model& model,
                       const Answer& answer,
                       const std::vector<std::int32_t>& prompt) {
  std::vector<std::int32_t> all = prompt;
  std::string out;
  for (const Token& token : answer.tokens) {
    std::string line = "  " + left(clip(clean(model.tokenizer().token_of(token.id)), 16), 17);
    for (const Look& look : token.looks) {
      const std::string key =
          model.tokenizer().token_of(all.at(static_cast<std::size_t>(look.key)));
      line += left(look.head.name(), 6) + share(static_cast<double>(look.weight)) + ' ' +
              left(clip(clean(key), 10), 11);
    }
    out += trimmed(clip(line, call.screen.width)) + '\n';
    all.push_back(token.id);
  }
  return out;
}

std::string json_of(const Model& model,
                    const std::vector<std::int32_t>& prompt,
                    const Answer& answer) {
  static constexpr const char* kEnded[] = {"", "stop", "length", "full"};
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "run");
  json.field("model", model.name()).field("text", answer.text);
  json.field("ended",
             answer.stopped_by_text ? "stop_text" : kEnded[static_cast<std::size_t>(answer.ended)]);
  json.array<std::int32_t>("prompt_ids", prompt).key("tokens").begin_array();
  for (const Token& token : answer.tokens) {
    json.begin_object().field("id", token.id).field("token", model.tokenizer().token_of(token.id));
    if (token.logprob) json.field("logprob", *token.logprob);
    if (!token.looks.empty()) {
      json.key("looks").begin_array();
      for (const Look& look : token.looks) {
        json.begin_object().field("layer", look.head.layer).field("head", look.head.head);
        json.field("position", look.key).field("weight", look.weight).end_object();
      }
      json.end_array();
    }
    json.end_object();
  }
  json.end_array();
  json.field("prompt_seconds", answer.prompt_seconds).field("seconds", answer.seconds);
  return std::move(json.end_object()).take();
}

Generator generator_for(const Call& call,
                        const Model& model,
                        const RunWishes& wishes,
                        const Sight& sight) {
  GenerateOptions options = wishes.generate;
  const std::int64_t most = rows_of_positions(model);
  if (most > 0 && options.positions > most)
    throw Error(
        ErrorCode::kRange,
        say(call.screen.lang,
            model.encoder_layers() > 0 ? Word::kRunPairContextTooLong : Word::kRunContextTooLong,
            most,
            clean(model.name()),
            options.positions));
  if (wishes.look) options.sight = &sight;
  return Generator(model, std::move(options));
}

Sight looking() {
  constexpr int kDeep = 3;  // the first key and the token itself may come before the one to tell
  Sight sight;
  sight.stats = false;
  sight.top_k = kDeep;
  return sight;
}

}  // namespace

std::string answer(const Call& call,
                   const Model& model,
                   const std::string& prompt,
                   const RunWishes& wishes) {
  std::vector<Message> messages;
  if (!wishes.system.empty()) messages.push_back({"system", wishes.system});
  messages.push_back({"user", prompt});
  const Sight sight = looking();
  Generator generator = generator_for(call, model, wishes, sight);
  // A template writes its special tokens itself.
  const std::vector<std::int32_t> ids = shortened(
      call,
      model,
      model.tokenizer().encode(wishes.chat ? render(call, model, messages) : prompt, !wishes.chat),
      wishes,
      room_of_prompt(model, generator));
  const Answer found = generate(model, generator, ids, wishes, [&](std::string_view piece) {
    if (!call.json) print(piece);
  });
  if (!call.json) {
    print("\n");
    if (wishes.look) print(look_lines(call, model, found, ids));
    report(call, found, advice(model, generator));
  }
  return json_of(model, ids, found);
}

int talk(const Call& call, const Model& model, const RunWishes& wishes) {
  const bool terminal = ::isatty(STDIN_FILENO) != 0;
  const Lang lang = call.screen.lang;
  const Sight sight = looking();
  Generator generator = generator_for(call, model, wishes, sight);
  std::vector<Message> messages;
  if (!wishes.system.empty()) messages.push_back({"system", wishes.system});
  const std::size_t fixed = messages.size();
  (void)render(call, model, {{"user", "?"}});  // Says at once when there is no template.
  if (terminal) std::fprintf(stderr, "%s\n", std::string(text(lang, Word::kRunTalk)).c_str());
  std::string line;
  while (true) {
    if (terminal) std::fputs("> ", stderr);
    if (!std::getline(std::cin, line) || line == "/exit") break;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    messages.push_back({"user", line});
    Encoding encoding;
    while (true) {  // The oldest exchange goes when the talk no longer fits.
      encoding = model.tokenizer().encode(render(call, model, messages), false);
      const std::int64_t most = room_of_prompt(model, generator);
      const bool pair = model.encoder_layers() > 0;
      const auto room = pair ? most : most - std::min(wishes.generate.most, most / 4);
      if (static_cast<std::int64_t>(encoding.ids.size()) <= room || messages.size() < fixed + 3)
        break;
      messages.erase(messages.begin() + static_cast<std::ptrdiff_t>(fixed),
                     messages.begin() + static_cast<std::ptrdiff_t>(fixed) + 2);
      std::fprintf(stderr, "%s\n", std::string(text(lang, Word::kRunForgets)).c_str());
    }
    std::vector<std::int32_t> ids;
    try {
      ids = shortened(call, model, std::move(encoding), wishes, room_of_prompt(model, generator));
    } catch (const Error& error) {
      std::fprintf(stderr, "headscope: %s\n", clean(error.what()).c_str());
      messages.pop_back();
      continue;
    }
    const Answer found = generate(model, generator, ids, wishes, print);
    print("\n");
    if (wishes.look) print(look_lines(call, model, found, ids));
    report(call, found, advice(model, generator));
    messages.push_back({"assistant", found.text});
  }
  return 0;
}

}  // namespace headscope::cli
