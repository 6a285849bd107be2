#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>

#include "report/made_run.h"
#include "report/report_data.h"

namespace headscope::report {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
  return n;
}

/// What lies in the element with this id.
std::string element(const std::string& html, const std::string& id) {
  const std::size_t name = html.find("id=\"" + id + "\"");
  if (name == html.npos) return {};
  const std::size_t begin = html.find('>', name) + 1;
  return html.substr(begin, html.find("</script>", begin) - begin);
}

std::vector<std::byte> unbase64(const std::string& text) {
  std::vector<std::byte> out;
  unsigned group = 0;
  int bits = 0;
  for (const char c : text) {
    if (c == '=') break;
    const std::string letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    group = group << 6 | static_cast<unsigned>(letters.find(c));
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out.push_back(static_cast<std::byte>(group >> bits & 255U));
    }
  }
  return out;
}

ErrorCode code_of(const Page& page) {
  try {
    page_html(page);
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "expected an Error";
  return ErrorCode::kInternal;
}

TEST(Page, FetchesNothingFromElsewhere) {
  const auto run = make_run({});
  const std::string html = page_html(run->page);
  EXPECT_EQ(occurrences(html, "http:"), occurrences(html, "http://www.w3.org/2000/svg"));
  for (const char* reaching : {"https:", " src=", "@import", "url(", "fetch(", "XMLHttpRequest"}) {
    EXPECT_EQ(occurrences(html, reaching), 0U) << reaching;
  }
  const std::regex address("href=\"([^\"]*)\"");
  for (auto it = std::sregex_iterator(html.begin(), html.end(), address);
       it != std::sregex_iterator();
       ++it) {
    EXPECT_EQ((*it)[1].str(), "data:,");
  }
  EXPECT_NE(html.find("default-src 'none'"), html.npos);
}

TEST(Page, CarriesEveryModule) {
  const std::string html = page_html(make_run({})->page);
  int modules = 0;
  for (const auto& entry : fs::directory_iterator(HEADSCOPE_SOURCE_DIR "/web/report")) {
    if (entry.path().extension() != ".mjs") continue;
    std::ifstream file(entry.path());
    std::string line;
    std::getline(file, line);
    std::getline(file, line);  // what the module is for
    EXPECT_NE(html.find(line), html.npos) << entry.path();
    ++modules;
  }
  EXPECT_GE(modules, 20);
}

TEST(Page, HostileTextStaysText) {
  auto run = make_run({});
  run->sighting.text = "</script><script>alert(1)</script><!-- {{script}} \xff &\"'";
  run->sighting.labels[2].text = "</ScRiPt><img onerror=alert(1)>";
  run->page.roles.push_back(
      {0, 1, "<", "<b>", "</title><b>", "</style>", "\"", "<i>", 0.5, 0.1, 9});
  const auto tame = make_run({});
  tame->page.roles = {{0, 1, "x", "x", "x", "x", "x", "x", 0.5, 0.1, 9}};
  const std::string html = page_html(run->page);
  const std::string calm = page_html(tame->page);
  EXPECT_EQ(occurrences(html, "<script"), occurrences(calm, "<script"));
  EXPECT_EQ(occurrences(html, "</script"), occurrences(calm, "</script"));
  EXPECT_EQ(occurrences(html, "alert(1)</"), 0U);
  EXPECT_EQ(occurrences(html, "<img"), 0U);
  EXPECT_EQ(occurrences(html, "<b>"), 0U);
  const json said = json::parse(element(html, "page"));
  EXPECT_EQ(said["labels"][2]["text"], "</ScRiPt><img onerror=alert(1)>");
  EXPECT_EQ(said["roles"][0]["en"], "</title><b>");
}

TEST(Page, TitleOfALongTextIsCutBetweenLetters) {
  const auto run = make_run({});
  run->page.model = "m";
  run->sighting.text.clear();
  for (int i = 0; i < 50; ++i) run->sighting.text += "xж";  // 80 bytes end inside a letter
  run->sighting.text.insert(0, "y");
  const std::string html = page_html(run->page);
  const std::size_t begin = html.find("<title>") + 7;
  const std::string title = html.substr(begin, html.find("</title>") - begin);
  EXPECT_TRUE(title.ends_with("жx…")) << title;
}

TEST(Page, NumbersComeBackBitForBit) {
  const auto run = make_run({.heads = 6, .groups = 2, .tokens = 7, .width = 5});
  const std::string html = page_html(run->page);
  const FocusRecord& record = run->sighting.layers[1];
  for (const auto& [name, tensor] :
       {std::pair{"1.q", &record.q}, {"1.k", &record.k}, {"1.lse", &record.lse}}) {
    const auto bytes = unbase64(element(html, std::string("n-") + name));
    ASSERT_EQ(bytes.size(), tensor->bytes()) << name;
    EXPECT_EQ(std::memcmp(bytes.data(), tensor->raw(), bytes.size()), 0) << name;
  }
  EXPECT_NE(html.find("id=\"n-1.q\" data-type=\"f32\" data-shape=\"6 7 5\""), html.npos);
}

TEST(Page, OnlyTheFirstOfABatchIsStored) {
  const auto run = make_run({.batch = 3, .walk = false});
  const std::string html = page_html(run->page);
  const Tensor& q = run->sighting.layers[0].q;
  EXPECT_EQ(unbase64(element(html, "n-0.q")).size() * 3, q.bytes());
}

TEST(Page, TraceIsStoredOnceUnlessEdited) {
  const auto run = make_run({});
  std::string html = page_html(run->page);
  EXPECT_EQ(html.find("id=\"n-w0.z\""), html.npos);
  EXPECT_EQ(html.find("id=\"n-w0.q\""), html.npos);
  EXPECT_NE(html.find("id=\"n-w0.merged\""), html.npos);
  run->trace.merged.span<float>()[3] = 0.0F;
  html = page_html(run->page);
  EXPECT_NE(html.find("id=\"n-w0.z\""), html.npos);
}

TEST(Page, RoundsQAndKPast24Megabytes) {
  const auto run = make_run({.layers = 1, .heads = 1, .groups = 1, .tokens = 4, .walk = false});
  FocusRecord& record = run->sighting.layers[0];
  record.width = (std::int64_t{25} << 20) / 4 / 8;  // q and k together just past the limit
  record.q = Tensor::zeros(DType::kF32, {1, 1, 4, record.width});
  record.k = Tensor::zeros(DType::kF32, {1, 1, 4, record.width});
  record.q.span<float>()[0] = 1.0F + 1.0F / 512;
  const Numbers numbers = collect(run->page);
  EXPECT_TRUE(numbers.rounded);
  EXPECT_EQ(numbers.tensors[0].dtype, DType::kBF16);
  EXPECT_EQ(numbers.tensors[0].bytes.size(), record.q.bytes() / 2);
  EXPECT_TRUE(json::parse(describe(run->page, numbers))["rounded"].get<bool>());
}

TEST(Page, RefusesWhatIsTooLarge) {
  const auto run = make_run({.layers = 1, .heads = 1, .groups = 1, .tokens = 4, .walk = false});
  FocusRecord& record = run->sighting.layers[0];
  record.width = std::int64_t{5} << 20;
  record.q = Tensor::zeros(DType::kF32, {1, 1, 4, record.width});
  record.k = Tensor::zeros(DType::kF32, {1, 1, 4, record.width});
  EXPECT_EQ(code_of(run->page), ErrorCode::kResources);
}

TEST(Page, SaysWhatIsMissing) {
  const auto run = make_run({});
  Page page = run->page;
  page.sighting = nullptr;
  EXPECT_EQ(code_of(page), ErrorCode::kUsage);
  page = run->page;
  page.head = 4;
  EXPECT_EQ(code_of(page), ErrorCode::kRange);
  page = run->page;
  page.view = "media";  // of a text there is none
  EXPECT_EQ(code_of(page), ErrorCode::kUsage);
  page.view = "stroll";
  EXPECT_EQ(code_of(page), ErrorCode::kUsage);
  page = run->page;
  page.language = "de";
  EXPECT_EQ(code_of(page), ErrorCode::kUsage);
  page = run->page;
  page.walks[0].trace = nullptr;
  EXPECT_EQ(code_of(page), ErrorCode::kUsage);
  run->sighting.layers[1].q = Tensor();
  EXPECT_EQ(code_of(run->page), ErrorCode::kUsage);
  run->sighting.layers.clear();
  EXPECT_EQ(code_of(run->page), ErrorCode::kUsage);
}

TEST(Page, LayersLeftOutAreAllowed) {
  const auto run = make_run({.layers = 3});
  run->sighting.layers[1] = FocusRecord();
  const json said = json::parse(element(page_html(run->page), "page"));
  EXPECT_TRUE(said["layers"][1].is_null());
  EXPECT_EQ(said["layers"][2]["rows"], 12);
}

TEST(Base64, AllLengthsModuloThree) {
  const auto of = [](std::string_view text) {
    std::vector<std::byte> bytes;
    for (const char c : text) bytes.push_back(static_cast<std::byte>(c));
    return base64(bytes);
  };
  EXPECT_EQ(of(""), "");
  EXPECT_EQ(of("f"), "Zg==");
  EXPECT_EQ(of("fo"), "Zm8=");
  EXPECT_EQ(of("foo"), "Zm9v");
  EXPECT_EQ(of("\xff\xfe\xfd"), "//79");
}

TEST(JoinModules, DropsImportsAndExports) {
  EXPECT_EQ(join_modules({"import { a } from './a.mjs';\nexport const b = a;\n", "let c = 1;"}),
            "const b = a;\n\nlet c = 1;\n");
}

/// Rows of weights as they should come out in the browser, in double.
json expected_rows(const Sighting& sighting) {
  json rows = json::array();
  for (std::size_t l = 0; l < sighting.layers.size(); ++l) {
    const FocusRecord& r = sighting.layers[l];
    for (const int head : r.heads) {
      for (std::int64_t i = 0; i < r.rows; i += 1 + r.rows / 6) {
        std::vector<double> row;
        const double lse = static_cast<double>(r.lse.view<float, 3>()(0, head, i));
        for (std::int64_t j = 0; j < r.keys; ++j) {
          row.push_back(std::isinf(lse) ? 0.0 : std::exp(score(r, head, i, j) - lse));
        }
        rows.push_back({{"layer", l}, {"head", head}, {"row", i}, {"weights", row}});
      }
    }
  }
  return rows;
}

void write_case(const fs::path& folder, const std::string& name, const Made& made) {
  const auto run = make_run(made, static_cast<unsigned>(name.size()) + 7);
  std::ofstream(folder / (name + ".html")) << page_html(run->page);
  const json out = {{"rows", expected_rows(run->sighting)}, {"text", run->sighting.text}};
  std::ofstream(folder / (name + ".json")) << out.dump();
}

// A [CLS] and six patches.
void put_in_picture(MadeRun& run) {
  Sighting& s = run.sighting;
  s.scene.kind = Scene::Kind::kImage;
  s.scene.pictures = Tensor::zeros(DType::kU8, {1, 4, 6, 3});
  for (std::size_t i = 1; i < s.labels.size(); ++i) {
    s.labels[i].frame = 0;
    s.labels[i].row = static_cast<int>((i - 1) / 3);
    s.labels[i].column = static_cast<int>((i - 1) % 3);
  }
  run.page.view = "media";
}

FocusOptions causal(std::int64_t left = -1, std::int64_t prefix = 0) {
  FocusOptions options;
  options.causal = true;
  options.window_left = left;
  options.prefix = prefix;
  return options;
}

TEST(PageScript, WeightsInTheBrowserAreTheEnginesWeights) {
  if (std::system("node --version > /dev/null 2>&1") != 0) {
    GTEST_SKIP() << "node is not installed: the page's script is not run";
  }
  const fs::path folder = fs::path(HEADSCOPE_BINARY_DIR) / "pages";
  fs::remove_all(folder);
  fs::create_directories(folder);
  FocusOptions capped;
  capped.softcap = 2.0F;
  capped.scale = 0.5F;
  FocusOptions window;
  window.window_left = 2;
  window.window_right = 1;
  FocusOptions late = causal();
  late.query_offset = 1;
  {
    const auto run = make_run({.tokens = 7}, 3);
    put_in_picture(*run);
    std::ofstream(folder / "picture.html") << page_html(run->page);
    const json out = {{"rows", expected_rows(run->sighting)}, {"text", run->sighting.text}};
    std::ofstream(folder / "picture.json") << out.dump();
  }
  write_case(folder, "plain", {});
  write_case(folder, "grouped", {.heads = 6, .groups = 2, .options = causal()});
  write_case(folder, "window", {.options = window});
  write_case(folder, "prefix", {.options = causal(3, 2)});
  write_case(folder, "mask", {.mask = true});
  write_case(folder, "bias", {.bias = true});
  write_case(folder, "capped", {.options = capped});
  write_case(folder, "slopes", {.options = causal(), .slopes = true});
  write_case(folder, "sinks", {.options = causal(), .sinks = true});
  write_case(folder, "decode", {.tokens = 3, .keys = 9, .options = causal(), .walk = false});
  write_case(folder, "offset", {.tokens = 3, .keys = 9, .options = late, .walk = false});
  const std::string command = "node --test '" + std::string(HEADSCOPE_SOURCE_DIR) +
                              "/tests/report/page_test.mjs' > '" + (folder / "log").string() +
                              "' 2>&1";
  ASSERT_EQ(setenv("HEADSCOPE_PAGES", folder.c_str(), 1), 0);
  const int status = std::system(command.c_str());
  std::ifstream log(folder / "log");
  EXPECT_EQ(status, 0) << std::string(std::istreambuf_iterator<char>(log), {});
}

}  // namespace
}  // namespace headscope::report
