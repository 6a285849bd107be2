#include "cli/verify.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <limits>
#include <set>
#include <sstream>

#include "cli/arguments.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "headscope/error.h"

namespace headscope::cli {

namespace {
constexpr std::array<std::string_view, 8> kInputs = {"input_ids",
                                                     "attention_mask",
                                                     "token_type_ids",
                                                     "position_ids",
                                                     "decoder_input_ids",
                                                     "decoder_attention_mask",
                                                     "input_features",
                                                     "pixel_values"};

using Outputs = std::map<std::string, Tensor, std::less<>>;

std::set<std::string, std::less<>> input_names(const Safetensors& io) {
  std::set<std::string, std::less<>> out;
  const auto listed = io.metadata().find("inputs");
  if (listed != io.metadata().end()) {
    std::istringstream words(listed->second);
    for (std::string word; words >> word;) out.insert(word);
  } else {
    for (const std::string_view name : kInputs) {
      if (io.find(name) != nullptr) out.insert(std::string(name));
    }
  }
  return out;
}

// An integer tensor [B,T] (or [1,T], repeated) as T, every value in its range.
template <typename T>
Tensor read_integers(const Safetensors& io,
                     std::string_view name,
                     std::int64_t batch,
                     std::int64_t tokens) {
  const AnyView& source = io.at(name);
  const auto wrong = [&](const std::string& expected) {
    return Error(ErrorCode::kShape,
                 fmt::format("[verify] expected {} {} in {}, found {} {}",
                             name,
                             expected,
                             io.name(),
                             headscope::name(source.dtype),
                             to_string(source.shape)));
  };
  const bool fits = source.shape.size() == 2 &&
                    (source.shape[0] == batch || source.shape[0] == 1) && source.shape[1] == tokens;
  if (!fits) throw wrong(to_string(Shape{batch, tokens}));
  if (source.dtype != DType::kI64 && source.dtype != DType::kI32) throw wrong("i64");
  Tensor out(kDTypeOf<T>, {batch, tokens});
  const auto to = out.span<T>();
  for (std::size_t i = 0; i < to.size(); ++i) {
    const std::size_t from = i % static_cast<std::size_t>(source.size());
    const std::int64_t x = source.dtype == DType::kI64 ? source.view<std::int64_t, 2>().data[from]
                                                       : source.view<std::int32_t, 2>().data[from];
    if (x < std::numeric_limits<T>::min() || x > std::numeric_limits<T>::max()) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("[verify] expected {} between {} and {}, found {}",
                              name,
                              std::int64_t{std::numeric_limits<T>::min()},
                              std::int64_t{std::numeric_limits<T>::max()},
                              x));
    }
    to[i] = static_cast<T>(x);
  }
  return out;
}

std::pair<std::int64_t, std::int64_t> shape_of_ids(const Safetensors& io, std::string_view name) {
  const AnyView& ids = io.at(name);
  if (ids.shape.size() == 2 && ids.size() > 0) return {ids.shape[0], ids.shape[1]};
  throw Error(
      ErrorCode::kShape,
      fmt::format(
          "[verify] expected {} [B,T] in {}, found {}", name, io.name(), to_string(ids.shape)));
}

Allowance allowance_of(const Safetensors& io) {
  Allowance out;
  const auto noise = io.metadata().find("f32_noise");
  if (noise == io.metadata().end()) return out;
  double value = 0.0;
  const std::string& word = noise->second;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size() || !(value >= 0.0 && value < 1.0)) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[verify] expected f32_noise in [0, 1), found {}", clean(word)));
  }
  out.noise = value;
  return out;
}

// "hidden_states.12" -> ("hidden_states.", 12)
std::pair<std::string, std::int64_t> split_name(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  std::int64_t number = -1;
  if (dot != std::string::npos) {
    const char* end = name.data() + name.size();
    const auto result = std::from_chars(name.data() + dot + 1, end, number);
    if (result.ptr == end && result.ec == std::errc()) return {name.substr(0, dot + 1), number};
  }
  return {name, -1};
}

// All weights of one layer, [B,H,T,T], each row recomputed from q, k and lse.
Tensor attention_map(const FocusRecord& record) {
  Tensor out(DType::kF32, {record.batch, record.query_heads, record.rows, record.keys});
  auto rest = out.span<float>();
  for (std::int64_t b = 0; b < record.batch; ++b) {
    for (int h = 0; h < static_cast<int>(record.query_heads); ++h) {
      for (std::int64_t i = 0; i < record.rows; ++i) {
        record.row(b, h, i, rest.first(static_cast<std::size_t>(record.keys)));
        rest = rest.subspan(static_cast<std::size_t>(record.keys));
      }
    }
  }
  return out;
}

// The engine's tensor of that name; empty() when it has none.
Tensor output_named(const Model& model, Run& run, const std::string& name) {
  if (name == "encoder_last_hidden_state") return std::move(run.encoder_last_hidden_state);
  if (name == "last_hidden_state") return std::move(run.last_hidden_state);
  if (name == "pooler_output") return std::move(run.pooler_output);
  if (name == "logits") return std::move(run.logits);
  if (const auto found = run.more.find(name); found != run.more.end())
    return std::move(found->second);
  const auto [kind, number] = split_name(name);
  if (number < 0) return {};
  const auto n = static_cast<std::size_t>(number);
  if (kind == "hidden_states." && n < run.hidden_states.size())
    return std::move(run.hidden_states[n]);
  if (kind == "router_logits." && n < run.router_logits.size())
    return std::move(run.router_logits[n]);
  if (kind == "encoder_hidden_states." && n < run.encoder_hidden_states.size())
    return std::move(run.encoder_hidden_states[n]);
  if (kind == "decoder_hidden_states." && n < run.hidden_states.size())
    return std::move(run.hidden_states[n]);
  const auto encoders = static_cast<std::size_t>(model.encoder_layers());
  const auto decoders = static_cast<std::size_t>(model.decoder_layers());
  std::size_t layer = run.sighting.layers.size();
  if (kind == "attentions." || (kind == "encoder_attentions." && n < encoders)) layer = n;
  if (kind == "decoder_attentions." && n < decoders) layer = encoders + n;
  if (kind == "cross_attentions." && n < decoders) layer = encoders + decoders + n;
  if (encoders == 0) {
    layer = 0;
    while (layer < run.sighting.layers.size() &&
           model.attention_name(static_cast<int>(layer)) != name)
      ++layer;
  }
  return layer < run.sighting.layers.size() ? attention_map(run.sighting.layers[layer]) : Tensor();
}

Verdict verify_config(const std::filesystem::path& folder,
                      const std::string& config,
                      const Safetensors& io,
                      const Allowance& allowance,
                      Outputs* outputs) {
  Verdict verdict;
  verdict.folder = folder.string();
  verdict.config = config;
  const auto model_class = io.metadata().find("model_class");
  if (model_class != io.metadata().end()) verdict.model_class = model_class->second;
  verdict.allowance = allowance;

  const Model model =
      Model::load(config == "config.json" ? folder.string() : (folder / config).string());
  const Tokens tokens = read_tokens(io);
  Sight sight;
  sight.stats = false;
  sight.keep_qk = true;
  RunOptions options;
  options.sight = &sight;
  options.hidden_states = true;
  options.router_logits = true;
  Run run = model.run(tokens, options);
  for (const std::string& name : output_names(io)) {
    Tensor ours = output_named(model, run, name);
    const bool read = model.encoder_layers() == 0 || name.starts_with("encoder_");
    const Tensor none;
    const bool text = !model.sees() || name.starts_with("text.");  // pictures have no padding
    const Tensor& mask = !text ? none : (read ? tokens.attention_mask : tokens.decoder_mask);
    const Tensor& keys = name.starts_with("cross_") ? tokens.attention_mask : mask;
    verdict.tensors.push_back(compare(name, io.at(name), ours, mask, allowance, &keys));
    if (outputs != nullptr && !ours.empty()) outputs->emplace(name, std::move(ours));
  }
  if (verdict.tensors.empty()) {
    throw Error(
        ErrorCode::kFormat,
        fmt::format("[verify] expected outputs to compare with in {}, found none", io.name()));
  }
  return verdict;
}

void write_dump(const std::string& path, const Outputs& outputs) {
  std::map<std::string, AnyView, std::less<>> views;
  for (const auto& [name, tensor] : outputs) views.emplace(name, tensor.any());
  const Writing writing;
  write_safetensors(path, views, {{"engine", std::string("headscope ") + HEADSCOPE_VERSION}});
}

// config.json, and config.published.json where there is one.
std::vector<Verdict> verify_folder(const std::string& folder,
                                   const std::optional<double>& tolerance,
                                   const std::string& dump) {
  const std::filesystem::path path(folder);
  if (!std::filesystem::is_directory(path)) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("[verify] expected a folder with config.json, model.safetensors and "
                            "io.safetensors, found {} {}",
                            std::filesystem::exists(path) ? "the file" : "nothing at",
                            clean(folder)));
  }
  const Safetensors io = Safetensors::open(path / "io.safetensors");
  Allowance allowance = allowance_of(io);
  allowance.tolerance = tolerance;
  Outputs outputs;
  std::vector<Verdict> out;
  out.push_back(
      verify_config(path, "config.json", io, allowance, dump.empty() ? nullptr : &outputs));
  if (!dump.empty()) write_dump(dump, outputs);
  if (std::filesystem::exists(path / "config.published.json")) {
    out.push_back(verify_config(path, "config.published.json", io, allowance, nullptr));
  }
  return out;
}

// As verify_folder, but what goes wrong becomes a verdict of its own: the next folder has its turn.
std::vector<Verdict> try_folder(const std::string& folder, const std::optional<double>& tolerance) {
  try {
    return verify_folder(folder, tolerance, "");
  } catch (const Error& error) {
    Verdict verdict;
    verdict.folder = folder;
    verdict.config = "config.json";
    verdict.error = error.what();
    verdict.status = exit_status(error.code());
    return {verdict};
  }
}

int status_of(const std::vector<Verdict>& verdicts) {
  int status = 0;
  for (const Verdict& verdict : verdicts) {
    if (verdict.error.empty() && !verdict.ok()) return 1;
    status = std::max(status, verdict.status);
  }
  return status;
}
}  // namespace

std::size_t Verdict::agreeing() const {
  return static_cast<std::size_t>(
      std::count_if(tensors.begin(), tensors.end(), [](const Compared& c) { return c.ok; }));
}

Tokens read_tokens(const Safetensors& io) {
  const auto names = input_names(io);
  for (const std::string& name : names) {
    if (std::find(kInputs.begin(), kInputs.end(), name) == kInputs.end()) {
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("[verify] expected inputs among {}, found {}",
                              fmt::join(kInputs, ", "),
                              clean(name)));
    }
  }
  Tokens out;
  if (names.contains("decoder_input_ids")) {
    const auto [batch, tokens] = shape_of_ids(io, "decoder_input_ids");
    out.decoder_ids = read_integers<std::int32_t>(io, "decoder_input_ids", batch, tokens);
    if (names.contains("decoder_attention_mask"))
      out.decoder_mask = read_integers<std::uint8_t>(io, "decoder_attention_mask", batch, tokens);
  }
  if (names.contains("input_features")) {
    out.features = Tensor::f32_from(io.at("input_features"));
    return out;
  }
  if (names.contains("pixel_values")) {
    out.pixels = Tensor::f32_from(io.at("pixel_values"));
    if (!names.contains("input_ids")) return out;
  }
  const auto [batch, tokens] = shape_of_ids(io, "input_ids");
  out.ids = read_integers<std::int32_t>(io, "input_ids", batch, tokens);
  if (names.contains("attention_mask")) {
    out.attention_mask = read_integers<std::uint8_t>(io, "attention_mask", batch, tokens);
  }
  if (names.contains("token_type_ids")) {
    out.type_ids = read_integers<std::int32_t>(io, "token_type_ids", batch, tokens);
  }
  if (names.contains("position_ids")) {
    out.position_ids = read_integers<std::int32_t>(io, "position_ids", batch, tokens);
  }
  return out;
}

std::vector<std::string> output_names(const Safetensors& io) {
  const auto inputs = input_names(io);
  std::vector<std::string> out;
  for (const auto& [name, view] : io.tensors()) {
    if (!inputs.contains(name)) out.push_back(name);
  }
  std::sort(out.begin(), out.end(), [](const std::string& a, const std::string& b) {
    return split_name(a) < split_name(b);
  });
  return out;
}

int verify(std::span<const std::string> arguments, Lang lang, std::string& out) {
  std::vector<std::string> folders;
  std::string dump;
  std::string tolerance_word;
  Parser parser("verify", lang);
  parser.positionals(folders);
  parser.option("--dump", dump);
  parser.option("--tolerance", tolerance_word);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpVerify);
    return 0;
  }
  if (folders.empty()) throw Error(ErrorCode::kUsage, text(lang, Word::kNeedsFolder).data());
  if (!dump.empty() && folders.size() > 1) {
    throw Error(ErrorCode::kUsage, say(lang, Word::kDumpOne, folders.size()));
  }
  if (!dump.empty()) check_writable(call, dump);
  std::optional<double> tolerance;
  if (!tolerance_word.empty()) {
    tolerance = parse_number(call, "--tolerance", tolerance_word);
    if (*tolerance < 0.0) {
      throw Error(
          ErrorCode::kUsage,
          say(lang, Word::kExpectedFound, call.verb, "--tolerance", ">= 0", tolerance_word));
    }
  }

  std::vector<Verdict> verdicts;
  for (std::size_t i = 0; i < folders.size(); ++i) {
    const Progress progress(lang,
                            fmt::format("{}/{} {}", i + 1, folders.size(), clean(folders[i])));
    auto some = folders.size() == 1 ? verify_folder(folders[i], tolerance, dump)
                                    : try_folder(folders[i], tolerance);
    for (Verdict& verdict : some) {
      if (!call.json) out += render_verdict(call.screen, verdict);
      verdicts.push_back(std::move(verdict));
    }
  }
  out += call.json ? verify_json(verdicts)
                   : (folders.size() > 1 ? render_summary(call.screen, verdicts) : std::string());
  return status_of(verdicts);
}

}  // namespace headscope::cli
