#include "formats/hub_http.h"

#ifdef HEADSCOPE_HUB

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <mutex>

#include "formats/json.h"
#include "headscope/error.h"

namespace headscope::hub {

namespace {

constexpr int kRedirects = 10;
constexpr std::size_t kLongestHeaders = 256 << 10;

// Scheme, host and port, the parts that decide who may see the token; "" for what is no URL.
std::string origin_of(const std::string& url) {
  const std::unique_ptr<CURLU, void (*)(CURLU*)> parsed(curl_url(), curl_url_cleanup);
  if (!parsed || curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return {};
  std::string out;
  for (const CURLUPart part : {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT}) {
    char* text = nullptr;
    if (curl_url_get(parsed.get(), part, &text, CURLU_DEFAULT_PORT) != CURLUE_OK) return {};
    out += std::string(text) + '|';
    curl_free(text);
  }
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) {
    return static_cast<char>(std::tolower(c));
  });
  return out;
}

std::string trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == text.npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1));
}

// One exchange, as libcurl's callbacks see it. No exception may pass through them.
struct Exchange {
  const Request& request;
  CURL* curl;
  Response response;
  std::size_t header_bytes = 0;
  bool begun = false;
  bool wanted = true;
  std::exception_ptr thrown;

  bool redirects() const {
    const int s = response.status;
    return s == 301 || s == 302 || s == 303 || s == 307 || s == 308;
  }

  bool begin() {
    if (begun || redirects()) return wanted;
    begun = true;
    wanted = !request.begin || request.begin(response);
    return wanted;
  }

  static std::size_t on_header(char* data, std::size_t size, std::size_t n, void* self) {
    auto& exchange = *static_cast<Exchange*>(self);
    const std::string_view line(data, size * n);
    exchange.header_bytes += line.size();
    if (exchange.header_bytes > kLongestHeaders) return 0;
    if (line.starts_with("HTTP/")) {  // 100 Continue and the like come before the real answer
      exchange.response.headers.clear();
      long status = 0;
      curl_easy_getinfo(exchange.curl, CURLINFO_RESPONSE_CODE, &status);
      exchange.response.status = static_cast<int>(status);
    } else if (const std::size_t colon = line.find(':'); colon != line.npos) {
      std::string name = trimmed(line.substr(0, colon));
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) {
        return static_cast<char>(std::tolower(c));
      });
      exchange.response.headers[name] = trimmed(line.substr(colon + 1));
    }
    return line.size();
  }

  static std::size_t on_body(char* data, std::size_t size, std::size_t n, void* self) {
    auto& exchange = *static_cast<Exchange*>(self);
    try {
      if (exchange.redirects()) return size * n;
      if (!exchange.begin()) return 0;
      exchange.request.take(std::string_view(data, size * n));
      return size * n;
    } catch (...) {
      exchange.thrown = std::current_exception();
      return 0;
    }
  }

  static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    auto& exchange = *static_cast<Exchange*>(self);
    try {
      if (exchange.request.idle) exchange.request.idle();
      return 0;
    } catch (...) {
      exchange.thrown = std::current_exception();
      return 1;
    }
  }
};

}  // namespace

struct Http::Parts {
  std::string origin;
  std::string token;
  int stall_s;
  CURL* curl;

  Response once(const Request& request, const std::string& url);
};

Http::Http(std::string endpoint, std::string token, int stall_s) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  std::string origin = origin_of(endpoint);
  if (origin.empty() || !(endpoint.starts_with("http://") || endpoint.starts_with("https://"))) {
    throw Error(ErrorCode::kUsage,
                fmt::format("[HF_ENDPOINT] expected http:// or https:// and a host, found {}",
                            json::quote(endpoint)));
  }
  parts_ = std::make_unique<Parts>(
      Parts{std::move(origin), std::move(token), stall_s, curl_easy_init()});
  if (parts_->curl == nullptr) throw Error(ErrorCode::kResources, "[pull] libcurl cannot start");
}

Http::~Http() {
  if (parts_) curl_easy_cleanup(parts_->curl);
}

Response Http::Parts::once(const Request& request, const std::string& url) {
  curl_easy_reset(curl);
  Exchange exchange{request, curl, {}, 0, false, true, nullptr};
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "headscope/" HEADSCOPE_VERSION);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, static_cast<long>(std::min(stall_s, 20)));
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(stall_s));
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &Exchange::on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &exchange);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Exchange::on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &exchange);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &Exchange::on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &exchange);
  curl_slist* headers = nullptr;
  const auto add = [&](const std::string& line) {
    headers = curl_slist_append(headers, line.c_str());
  };
  if (!token.empty() && origin_of(url) == origin) add("Authorization: Bearer " + token);
  if (request.offset > 0) {
    add(fmt::format("Range: bytes={}-", request.offset));
    if (!request.unchanged.empty()) add("If-Range: " + request.unchanged);
  }
  const std::unique_ptr<curl_slist, void (*)(curl_slist*)> owned(headers, curl_slist_free_all);
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  const CURLcode code = curl_easy_perform(curl);
  if (exchange.thrown) std::rethrow_exception(exchange.thrown);
  if (code == CURLE_OK && exchange.response.status != 0) exchange.begin();  // an empty answer
  if (code != CURLE_OK && exchange.wanted) exchange.response.problem = curl_easy_strerror(code);
  return exchange.response;
}

Response Http::get(const Request& request) {
  std::string url = request.url;
  for (int i = 0; i <= kRedirects; ++i) {
    Response response = parts_->once(request, url);
    const int s = response.status;
    const bool redirects = s == 301 || s == 302 || s == 303 || s == 307 || s == 308;
    if (!redirects || !response.problem.empty()) return response;
    char* next = nullptr;  // made whole by libcurl, which owns it
    curl_easy_getinfo(parts_->curl, CURLINFO_REDIRECT_URL, &next);
    const std::string to = next == nullptr ? std::string() : std::string(next);
    const bool downgrade = url.starts_with("https:") && !to.starts_with("https:");
    if (!(to.starts_with("http:") || to.starts_with("https:")) || downgrade) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("[pull] expected a redirect to {}, found {}",
                              downgrade ? "https" : "http or https",
                              json::quote(to)));
    }
    url = to;
  }
  throw Error(ErrorCode::kFormat,
              fmt::format("[pull] expected at most {} redirects, found more", kRedirects));
}

std::string Http::escaped(std::string_view text, bool keep_slashes) {
  constexpr std::string_view kPlain = "-._~";
  std::string out;
  for (const char c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter || kPlain.find(c) != kPlain.npos || (c == '/' && keep_slashes)) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

}  // namespace headscope::hub

#endif  // HEADSCOPE_HUB
