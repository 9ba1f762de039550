/** Who comes back from the provider, or was here before, need not press the button again. */
if (new URLSearchParams(location.search).has("state") || sessionStorage.getItem("oidc")) {
  document.getElementById("sign-in").requestSubmit();
}
